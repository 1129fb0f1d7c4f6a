//! Clip-GD (`clip-gd`): every worker clips its gradient. The baseline of Clip21: biased, it may stall or diverge.
//!
//! ```text
//! x ← x - γ (1/N) Σ_i clip_τ(g_i(x)) ,   clip_τ(u) = min(1, τ/‖u‖) u
//! ```
//!
//! Reference: the baseline of Khirirat et al., "Clip21: Error Feedback for Gradient Clipping", arXiv 2305.18929.

use super::{
    compress::clip,
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub tau: f64,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let mut sent = Vec::new();
        for i in 0..problem.workers() {
            sent.push(clip(&problem.gradient(i, t, &x), settings.tau));
        }
        let g = mean(&sent);
        for j in 0..x.len() {
            x[j] -= (settings.rate)(t) * g[j];
        }
        out.push(x.clone());
    }
    out
}
