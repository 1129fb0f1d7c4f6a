//! None: what is not said is forgotten.
//!
//! # What it does
//! Nothing, at every moment. The neutral element.
//!
//! # The step
//! ```text
//! given = offer
//! ```
//! # Contract
//! Stateless.
//!
//! # When it helps, when it hurts
//! Right for lossless and unbiased compressors. A biased one stalls without memory wherever workers' data differ.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::Feedback;
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Feedback>> =
    Entry { name: "none", about: "what is not said is forgotten", keys: &[], build: |_| Ok(Box::new(None)) };

/// No memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct None;

impl Feedback for None {
    fn forgets(&self) -> bool {
        true
    }
}
