//! The conformance suites: every contract stated once, run against every element of its axis and open to a stranger's.
//!
//! Behind the feature `testing`. A suite panics with a sentence that names what was promised and what came.

pub mod aggregate;
pub mod compress;
pub mod feedback;
pub mod optim;
pub mod schedule;
mod served;
mod trial;
pub mod workload;

pub use served::{Served, ServedRun};
pub use trial::{Rank, Round, Trial};
