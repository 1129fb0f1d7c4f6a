//! Facts that follow from the papers, run on the library's own engine; each with a control where the fact must fail.

mod clipping;
mod dual;
mod federated;
mod feedback;
mod local;
mod private;
mod quantizers;
mod zeroth;

use std::sync::Arc;

use sordino::Result;
use sordino::base::flat;
use sordino::testing::{Rank, Trial};
use sordino::workload::{Bowl, Bowls, Task, Workload};

use crate::oracle::vectors::mean;
use crate::worlds::{narrow, neutral, row, wide};

/// Given bowls as a task: no noise unless it is asked for.
#[derive(Clone)]
struct Given {
    bowls: Arc<Vec<Bowl>>,
    start: Vec<f32>,
    noise: f32,
}

impl Given {
    fn new(curvature: &[Vec<f64>], centres: &[Vec<f64>], start: &[f64]) -> Self {
        let bowl = |(h, c): (&Vec<f64>, &Vec<f64>)| Bowl { spectrum: narrow(h), centre: narrow(c) };
        let bowls = Arc::new(curvature.iter().zip(centres).map(bowl).collect());
        Self { bowls, start: narrow(start), noise: 0.0 }
    }

    fn workers(&self) -> usize {
        self.bowls.len()
    }

    /// The mean of the workers' losses.
    fn loss(&self, x: &[f32]) -> f64 {
        let one = |b: &Bowl| {
            let terms = x.iter().zip(&b.spectrum).zip(&b.centre);
            terms.map(|((x, h), c)| 0.5 * f64::from(*h) * (f64::from(*x) - f64::from(*c)).powi(2)).sum::<f64>()
        };
        self.bowls.iter().map(one).sum::<f64>() / self.workers() as f64
    }

    /// The gradient of worker `i`.
    fn gradient(&self, i: usize, x: &[f32]) -> Vec<f64> {
        let b = &self.bowls[i];
        let terms = x.iter().zip(&b.spectrum).zip(&b.centre);
        terms.map(|((x, h), c)| f64::from(*h) * (f64::from(*x) - f64::from(*c))).collect()
    }

    /// The gradient of the mean of the losses.
    fn slope(&self, x: &[f32]) -> Vec<f64> {
        mean(&(0..self.workers()).map(|i| self.gradient(i, x)).collect::<Vec<_>>())
    }

    /// The minimiser of the mean of the losses.
    fn minimiser(&self) -> Vec<f64> {
        let weight = |j: usize| self.bowls.iter().map(|b| f64::from(b.spectrum[j])).sum::<f64>();
        let pull = |j: usize| self.bowls.iter().map(|b| f64::from(b.spectrum[j]) * f64::from(b.centre[j])).sum::<f64>();
        (0..self.start.len()).map(|j| pull(j) / weight(j)).collect()
    }
}

impl Task for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn workload(&self, _: usize, _: u64) -> Result<Box<dyn Workload>> {
        Ok(Box::new(Bowls::new(self.bowls.clone(), self.start.clone(), self.noise)))
    }

    fn fingerprint(&self) -> u64 {
        flat::fingerprint(&self.start)
    }
}

/// The run of a named row.
fn run(name: &str, sets: &[&str], task: &dyn Task, workers: usize, steps: u64) -> Result<Vec<Rank>> {
    Trial::new(&row(name, sets), task, workers, 1, steps).run()
}

/// The run of a mix of its own.
fn mixed(sets: &[&str], task: &dyn Task, workers: usize, steps: u64) -> Result<Vec<Rank>> {
    Trial::new(&neutral(sets), task, workers, 1, steps).run()
}

/// A vector of a round's state, in f64; zeros where nothing is remembered.
fn memory(ranks: &[Rank], rank: usize, round: usize, path: &str) -> Vec<f64> {
    let zeros = || vec![0.0; ranks[rank].start.len()];
    ranks[rank].rounds[round].state.vectors.get(path).map_or_else(zeros, |v| wide(v))
}

/// `low` to `high` in `n` powers of ten of equal distance.
fn logspace(low: f64, high: f64, n: usize) -> Vec<f64> {
    (0..n).map(|j| 10f64.powf(low + (high - low) * j as f64 / (n - 1) as f64)).collect()
}

/// Asserts that a value is the expected one to a relative tolerance.
fn near(value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{value} is not {expected} to {tolerance}");
}
