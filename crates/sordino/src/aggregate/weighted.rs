//! Weighted: every worker counts by its number of rows.
//!
//! # What it does
//! Adds up rows times vector in rank order and divides by all rows.
//!
//! # The step
//! ```text
//! a = Σ nₖvₖ / Σ nₖ
//! ```
//! # Contract
//! Weights are normalised over the workers that took part and travel as the aside `weight`, one float each. Linear.
//! Withstands no liar.
//!
//! # When it helps, when it hurts
//! Makes the objective the mean over *rows* where shards are unequal.
//!
//! # Reference
//! McMahan et al.: Communication-efficient learning of deep networks (1602.05629).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Onto};
use crate::base::{Result, flat};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "weighted",
    about: "every worker counts by its number of rows",
    keys: &[],
    build: |_| Ok(Box::new(Weighted::default())),
};

/// The mean weighted by rows.
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    sum: Vec<f32>,
    weight: f32,
}

impl Aggregator for Weighted {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.sum.clear();
        self.sum.resize(gathering.len, 0.0);
        self.weight = 0.0;
        Ok(())
    }

    fn add(&mut self, vector: &[f32], weight: f32) {
        flat::add_scaled(&mut self.sum, weight, vector);
        self.weight += weight;
    }

    fn onto(&mut self, weight: f32) -> Option<Onto<'_>> {
        self.weight += weight;
        Some(Onto::More(&mut self.sum, weight))
    }

    fn finish(&mut self, out: &mut [f32]) {
        out.copy_from_slice(&self.sum);
        flat::divide(out, self.weight);
    }

    fn weighs(&self) -> bool {
        true
    }

    fn linear(&self) -> bool {
        true
    }
}
