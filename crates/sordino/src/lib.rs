//! Communication-efficient distributed training: workers that talk little.
//!
//! Every published method is one row of choices along shared axes. An axis is a folder here, an element of it a file.

#![forbid(unsafe_code)]

pub mod base;
pub mod compress;
pub mod grammar;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod workload;

pub use base::{Error, Result};
