//! Where a gradient comes from. An [`Estimate`] wraps a workload and what comes out is a workload; at its neutral
//! setting it is invisible.
//!
//! What an estimate adds to the contract of [`Workload`] stands in its file: which aside
//! comes with the gradient, what the gradient is of, and what happens to buffers. It keeps nothing that matters
//! between calls, as any workload, unless it says what it remembers and saves it.

mod delayed;
mod micro_norms;
mod per_sample;
mod variance_reduced;
mod zeroth_order;

pub use delayed::Delayed;
pub use micro_norms::{MICRO_NORMS, MicroNorms};
pub use per_sample::PerSample;
pub use variance_reduced::{Saga, Svrg};
pub use zeroth_order::{Along, ZerothOrder};

use crate::base::Result;
use crate::grammar::{self, Element, Entry};
use crate::workload::Workload;

type Wrap = dyn Fn(Box<dyn Workload>) -> Box<dyn Workload> + Send + Sync;

/// What a workload is wrapped in.
pub struct Estimate(Box<Wrap>);

impl Estimate {
    /// What `wrap` makes of a workload.
    pub fn new(wrap: impl Fn(Box<dyn Workload>) -> Box<dyn Workload> + Send + Sync + 'static) -> Self {
        Self(Box::new(wrap))
    }

    /// The workload with its gradients estimated that way.
    pub fn wrap(&self, workload: Box<dyn Workload>) -> Box<dyn Workload> {
        (self.0)(workload)
    }
}

/// Everything that the key `local.estimate` may be.
pub const ENTRIES: &[&Entry<Estimate>] = &[
    &zeroth_order::COOSGE,
    &zeroth_order::GAUSGE,
    &micro_norms::ENTRY,
    &per_sample::ENTRY,
    &Entry {
        name: "plain",
        about: "the gradient of the mini-batch as the workload gives it",
        keys: &[],
        build: |_| Ok(Estimate::new(|workload| workload)),
    },
    &variance_reduced::SAGA,
    &variance_reduced::SVRG,
];

/// Builds the estimate that an element names.
pub fn build(element: &Element) -> Result<Estimate> {
    grammar::build("local.estimate", ENTRIES, element)
}

#[cfg(test)]
mod tests;
