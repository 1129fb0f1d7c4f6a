//! CoCoA (`cocoa`): every worker ascends the dual along its own rows as if it were alone, and the moves are averaged.
//!
//! ```text
//! worker k:  Δ_k = 0 ;  H steps with σ' = 1 from w ;  α_[k] ← old + (1/K) (new - old)
//! all:       w ← w + (1/K) Σ_k Δ_k
//! ```
//!
//! Reference: Jaggi et al., "Communication-Efficient Distributed Dual Coordinate Ascent", arXiv 1409.1458.

use super::dual::{Data, Held, Solver, rounds};

/// The row's settings.
pub struct Settings<'a> {
    /// H.
    pub steps: usize,
    /// Which of its rows, from 0: `(worker, round, step)`.
    pub pick: &'a dyn Fn(usize, u64, usize) -> usize,
}

/// What is held at the start and after every round.
pub fn run(data: &Data, settings: &Settings, count: usize) -> Vec<Held> {
    let solver = Solver { sigma: 1.0, curvature: 1.0, steps: settings.steps, pick: settings.pick };
    rounds(data, &solver, 1.0 / data.shards.len() as f64, count)
}
