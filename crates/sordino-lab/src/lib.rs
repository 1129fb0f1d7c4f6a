//! The laboratory: real data sets, how their rows come to workers, what a run leaves on disk, and the report that
//! compares runs.
//!
//! Files are read and written here and nowhere below, and threads that are to be slow sleep here. Clocks and the
//! environment are not read here either: a caller passes seconds in as numbers.
//!
//! ```
//! use sordino_lab::{data, partition};
//!
//! # fn main() -> sordino::Result<()> {
//! let data::Set::Images(digits) = data::load("optdigits", None)? else { unreachable!("digits are images") };
//! let shards = partition::dirichlet(&digits.train_labels, 4, 0.3, 0)?;
//! assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), 3823);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod archive;
pub mod checkpoint;
pub mod clients;
pub mod data;
pub mod experiment;
pub mod files;
pub mod model_file;
pub mod partition;
pub mod record;
pub mod report;
