//! Sum: what everybody found is added up.
//!
//! # What it does
//! Adds up in rank order and multiplies once.
//!
//! # The step
//! ```text
//! a = γ·(((v₀ + v₁) + v₂) + …)          K voices that tell the same v give γK·v: its gain
//! ```
//! # Contract
//! f32 in rank order, one multiplication; γ = 1/K is the mean but for rounding. Linear. Withstands no liar. What travels
//! beside the payload is averaged: a sum is of what moves the model.
//!
//! # When it helps, when it hurts
//! Where workers find different parts of one move, as ascents of different dual variables are: the mean takes a Kth of
//! each. Whoever works for a sum must know that the others do too (`local=dual` does); displacements of descent add up
//! to a step that is K times too long.
//!
//! # Reference
//! Ma, Smith, Jaggi, Jordan, Richtárik, Takáč: Adding vs. averaging in distributed primal-dual optimization, CoCoA+
//! (1502.03508).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Onto};
use crate::base::{Result, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "sum",
    about: "what everybody found, added up",
    keys: &[Key { name: "gamma", default: "1", about: "what the sum is multiplied by, above 0 and at most 1" }],
    build: |args| Ok(Box::new(Sum::of(args.share("gamma")?))),
};

/// γ times the sum.
#[derive(Clone, Debug)]
pub struct Sum {
    gamma: f64,
    total: Vec<f32>,
    empty: bool,
}

impl Sum {
    /// Multiplied by `gamma`.
    pub fn of(gamma: f64) -> Self {
        Self { gamma, total: Vec::new(), empty: true }
    }
}

impl Aggregator for Sum {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.total.resize(gathering.len, 0.0);
        self.empty = true;
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        if std::mem::take(&mut self.empty) {
            self.total.copy_from_slice(vector);
        } else {
            flat::add(&mut self.total, vector);
        }
    }

    fn onto(&mut self, _: f32) -> Option<Onto<'_>> {
        let first = std::mem::take(&mut self.empty);
        Some(if first { Onto::First(&mut self.total) } else { Onto::More(&mut self.total, 1.0) })
    }

    fn finish(&mut self, out: &mut [f32]) {
        out.copy_from_slice(&self.total);
        if self.gamma != 1.0 {
            let gamma = self.gamma as f32;
            for v in out {
                *v *= gamma;
            }
        }
    }

    fn gain(&self, voices: f64, _: f64) -> f64 {
        self.gamma * voices
    }

    fn linear(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_added_up_and_multiplied_once() {
        for (gamma, expected) in [(1.0, [9.0, 6.0]), (0.5, [4.5, 3.0])] {
            let mut sum = Sum::of(gamma);
            for _ in 0..2 {
                sum.begin(&Gathering::of(2, 3)).unwrap();
                for vector in [[1.0, 0.0], [2.0, 4.0], [6.0, 2.0]] {
                    sum.add(&vector, 7.0);
                }
                let mut out = [0.0; 2];
                sum.finish(&mut out);
                assert_eq!(out, expected);
            }
            assert_eq!(sum.gain(3.0, 9.0), 3.0 * gamma);
        }
    }
}
