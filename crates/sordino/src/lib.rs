//! Communication-efficient distributed training: workers that talk little.
//!
//! Every published method is one row of choices along shared axes. An axis is a folder here, an element of it a file.

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod base;
pub mod buffers;
pub mod compress;
pub mod engine;
pub mod exchange;
pub mod fabric;
pub mod feedback;
pub mod grammar;
pub mod local;
pub mod optim;
pub mod participation;
pub mod payload;
pub mod recipe;
pub mod schedule;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topology;
pub mod workload;

pub use base::{Error, Result};
