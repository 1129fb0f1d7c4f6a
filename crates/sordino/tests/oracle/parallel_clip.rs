//! Naive parallel clipping (`parallel-clip`): the baseline of CELGC, which averages gradients every step and clips by
//! the norm of the mean.
//!
//! ```text
//! ḡ = (1/N) Σ_i g_i(x) ;   s = min(η, γ/‖ḡ‖) ;   m ← μ m + (ḡ + wd x) ;   x ← x - s m
//! ```
//!
//! Reference: Liu et al., "A Communication-Efficient Distributed Gradient Clipping Algorithm for Training Deep Neural
//! Networks", arXiv 2205.05040, the baseline. A mean gradient of exactly 0 makes no step.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// γ of every step; the method's step is never longer (without momentum).
    pub gamma: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut m = vec![0.0; problem.dim()];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let mut gradients = Vec::new();
        for i in 0..problem.workers() {
            gradients.push(problem.gradient(i, t, &x));
        }
        let g = mean(&gradients);
        let length = norm(&g);
        let s = if length == 0.0 { 0.0 } else { (settings.rate)(t).min((settings.gamma)(t) / length) };
        for j in 0..x.len() {
            m[j] = settings.momentum * m[j] + (g[j] + settings.decay * x[j]);
            x[j] -= s * m[j];
        }
        out.push(x.clone());
    }
    out
}
