//! The conformance suites: every contract stated once and run against every element, ours or a stranger's.
//!
//! Behind the feature `testing`. A suite panics with a sentence that names what was promised and what came.

pub mod compress;
mod trial;

pub use trial::{Rank, Round, Trial};
