//! Mean: every worker counts the same.
//!
//! # What it does
//! Adds up in rank order and divides once.
//!
//! # The step
//! ```text
//! a = (((v₀ + v₁) + v₂) + …) / N          by=expected: N is the mean number of voices over rounds
//! ```
//! # Contract
//! f32 in rank order, one division. With `by=expected` the divisor is fixed, as privacy accounting of a random number of
//! reports needs; a round with few reports then moves less. Linear. Withstands no liar: one moves it anywhere.
//!
//! # When it helps, when it hurts
//! The neutral element.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Onto};
use crate::base::{Result, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "mean",
    about: "every worker counts the same",
    keys: &[Key {
        name: "by",
        default: "reports",
        about: "divide by how many spoke (reports), or by how many speak on average (expected)",
    }],
    build: |args| Ok(Box::new(Mean::by(args.choice("by", &["reports", "expected"])? == 1))),
};

/// The plain mean.
#[derive(Clone, Debug, Default)]
pub struct Mean {
    by_expected: bool,
    sum: Vec<f32>,
    count: usize,
    expected: f64,
}

impl Mean {
    /// Over those that spoke, or over the mean number of those that do.
    pub fn by(by_expected: bool) -> Self {
        Self { by_expected, ..Self::default() }
    }
}

impl Aggregator for Mean {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.sum.resize(gathering.len, 0.0);
        self.count = 0;
        self.expected = gathering.expected;
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        if self.count == 0 {
            self.sum.copy_from_slice(vector);
        } else {
            flat::add(&mut self.sum, vector);
        }
        self.count += 1;
    }

    fn onto(&mut self, _: f32) -> Option<Onto<'_>> {
        self.count += 1;
        Some(if self.count == 1 { Onto::First(&mut self.sum) } else { Onto::More(&mut self.sum, 1.0) })
    }

    fn finish(&mut self, out: &mut [f32]) {
        let n = if self.by_expected { self.expected as f32 } else { self.count as f32 };
        for (mean, sum) in out.iter_mut().zip(&self.sum) {
            *mean = sum / n;
        }
    }

    fn gain(&self, voices: f64, expected: f64) -> f64 {
        if self.by_expected { voices / expected } else { 1.0 }
    }

    fn linear(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Weighted;

    fn of(aggregator: &mut dyn Aggregator, vectors: &[[f32; 2]]) -> [f32; 2] {
        let mut out = [0.0; 2];
        aggregator.begin(&Gathering::of(2, vectors.len())).unwrap();
        for vector in vectors {
            aggregator.add(vector, 1.0);
        }
        aggregator.finish(&mut out);
        out
    }

    #[test]
    fn unanimous_in_is_unanimous_out_and_equal_weights_are_none() {
        for aggregator in [&mut Mean::default() as &mut dyn Aggregator, &mut Weighted::default()] {
            assert_eq!(of(aggregator, &[[3.0, -1.0]; 4]), [3.0, -1.0]);
            assert_eq!(of(aggregator, &[[1.0, 0.0], [2.0, 4.0], [6.0, 2.0]]), [3.0, 2.0]);
        }
    }

    #[test]
    fn one_liar_moves_the_mean_anywhere() {
        let honest = [[1.0, 1.0]; 3];
        let lied = of(&mut Mean::default(), &[honest[0], honest[1], honest[2], [4e6, 1.0]]);
        assert!(lied[0] > 1e6 && Mean::default().withstands(4) == 0);
    }
}
