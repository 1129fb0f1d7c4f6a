//! CoCoA+ (`cocoa-plus`): every worker ascends the dual along its own rows as if K others did the same, and the moves
//! are added.
//!
//! ```text
//! worker k:  Δ_k = 0 ;  H steps with σ' = K from w, curvature 1 + K C ‖x_i‖² ;  α_[k] ← new
//! all:       w ← w + Σ_k Δ_k
//! ```
//!
//! Reference: Ma et al., "Adding vs. Averaging in Distributed Primal-Dual Optimization", arXiv 1502.03508.

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
    let sigma = data.shards.len() as f64;
    let solver = Solver { sigma, curvature: sigma, steps: settings.steps, pick: settings.pick };
    rounds(data, &solver, 1.0, count)
}
