//! The laboratory: real data sets, how their rows come to workers, what a run leaves on disk, and the report that
//! compares runs.
//!
//! Files are read and written here and nowhere below. Clocks and the environment are not read here either: a caller
//! passes seconds in as numbers.

#![forbid(unsafe_code)]

pub mod data;
pub mod partition;
