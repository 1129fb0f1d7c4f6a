//! CELGC (`celgc`): local SGD whose every step is clipped by the worker's own gradient.
//!
//! ```text
//! x_i ← x ;   I times: g = g_i(x_i), s = min(η, γ/‖g‖), m_i ← μ m_i + (g + wd x_i), x_i ← x_i - s m_i
//! x ← (1/N) Σ_i x_i
//! ```
//!
//! The norm is of the raw gradient, over all parameters; the factor multiplies the whole momentum buffer, which stays
//! with its worker. A gradient of exactly 0 makes no step.
//!
//! Reference: Liu et al., "A Communication-Efficient Distributed Gradient Clipping Algorithm for Training Deep Neural
//! Networks", arXiv 2205.05040.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// γ of every step.
    pub gamma: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// I.
    pub every: u64,
}

/// All workers' models after every local step, before the average.
pub fn local_models(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<Vec<f64>>> {
    let n = problem.workers();
    let mut x = vec![problem.start(); n];
    let mut m = vec![vec![0.0; problem.dim()]; n];
    let mut out = Vec::new();
    for r in 0..rounds as u64 {
        for t in r * settings.every..(r + 1) * settings.every {
            for i in 0..n {
                let g = problem.gradient(i, t, &x[i]);
                let length = norm(&g);
                let s = if length == 0.0 { 0.0 } else { (settings.rate)(t).min((settings.gamma)(t) / length) };
                for j in 0..g.len() {
                    m[i][j] = settings.momentum * m[i][j] + (g[j] + settings.decay * x[i][j]);
                    x[i][j] -= s * m[i][j];
                }
            }
            out.push(x.clone());
        }
        x = vec![mean(&x); n];
    }
    out
}

/// The model at the start and after every round of I steps.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut out = vec![problem.start()];
    for before_average in local_models(problem, settings, rounds).chunks(settings.every as usize) {
        out.push(mean(&before_average[before_average.len() - 1]));
    }
    out
}
