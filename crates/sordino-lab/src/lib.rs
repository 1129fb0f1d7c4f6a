//! The laboratory: real data sets, how their rows come to workers, what a run leaves on disk, and the report that
//! compares runs.
//!
//! Files are read and written here and nowhere below. Clocks and the environment are not read here either: a caller
//! passes seconds in as numbers.

#![forbid(unsafe_code)]

mod archive;
pub mod checkpoint;
pub mod data;
pub mod files;
pub mod model_file;
pub mod partition;
pub mod record;
pub mod report;
