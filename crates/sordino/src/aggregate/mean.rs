//! Mean: every worker counts the same.
//!
//! # What it does
//! Adds up in rank order and divides once.
//!
//! # The step
//! ```text
//! a = (((v₀ + v₁) + v₂) + …) / N
//! ```
//! # Contract
//! f32 in rank order, one division. Linear. Withstands no liar: one moves it anywhere.
//!
//! # When it helps, when it hurts
//! The neutral element.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::Aggregator;
use crate::base::flat;
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> =
    Entry { name: "mean", about: "every worker counts the same", keys: &[], build: |_| Ok(Box::new(Mean::default())) };

/// The plain mean.
#[derive(Clone, Debug, Default)]
pub struct Mean {
    sum: Vec<f32>,
    count: usize,
}

impl Aggregator for Mean {
    fn begin(&mut self, len: usize) {
        self.sum.resize(len, 0.0);
        self.count = 0;
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        if self.count == 0 {
            self.sum.copy_from_slice(vector);
        } else {
            flat::add(&mut self.sum, vector);
        }
        self.count += 1;
    }

    fn finish(&mut self, out: &mut [f32]) {
        out.copy_from_slice(&self.sum);
        flat::divide(out, self.count as f32);
    }

    fn linear(&self) -> bool {
        true
    }
}
