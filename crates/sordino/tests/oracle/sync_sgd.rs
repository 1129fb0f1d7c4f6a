//! Synchronous parallel SGD (`sync-sgd`): the mean of the workers' gradients takes the optimizer's step.
//!
//! ```text
//! ḡ = (1/N) Σ_i g_i(x) ;   m ← μ m + (ḡ + wd x) ;   x ← x - η m
//! ```
//!
//! Reference: what `PyTorch`'s data-parallel training computes; with AdamW the same mean enters AdamW.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// The optimizer behind the mean.
    pub inner: Inner,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut state = State::new(problem.dim());
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let mut gradients = Vec::new();
        for i in 0..problem.workers() {
            gradients.push(problem.gradient(i, t, &x));
        }
        state.step(settings.inner, (settings.rate)(t), &mut x, &mean(&gradients));
        out.push(x.clone());
    }
    out
}
