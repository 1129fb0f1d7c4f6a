//! Local SGD (`local-sgd`): H steps on one's own, then the mean of the models.
//!
//! ```text
//! x_i ← x ;   H times: x_i ← x_i - η (momentum of) g_i(x_i) ;   x ← (1/N) Σ_i x_i
//! ```
//!
//! Optimizer state stays with its worker and is never averaged.
//!
//! Reference: Stich, "Local SGD Converges Fast and Communicates Little", arXiv 1805.09767.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// The local optimizer.
    pub inner: Inner,
    /// H.
    pub every: u64,
}

/// The model at the start and after every round of H steps.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut x = problem.start();
    let mut states = vec![State::new(problem.dim()); n];
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let mut local = vec![x.clone(); n];
        for t in r * settings.every..(r + 1) * settings.every {
            for i in 0..n {
                let g = problem.gradient(i, t, &local[i]);
                states[i].step(settings.inner, (settings.rate)(t), &mut local[i], &g);
            }
        }
        x = mean(&local);
        out.push(x.clone());
    }
    out
}
