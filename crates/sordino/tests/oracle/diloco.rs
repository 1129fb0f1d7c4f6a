//! DiLoCo (`diloco`): many steps of local AdamW, then a Nesterov step along the mean displacement.
//!
//! ```text
//! θ_i ← θ ;  H steps of AdamW, whose state stays with worker i, neither averaged nor reset
//! Δ = (1/N) Σ_i (θ - θ_i) ;  m ← β m + Δ ;  θ ← θ - lr (Δ + β m)
//! ```
//!
//! Reference: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::{mean, minus},
};

/// The row's settings.
pub struct Settings<'a> {
    /// The rate of every local step.
    pub rate: Rate<'a>,
    /// The local optimizer: AdamW in the paper.
    pub inner: Inner,
    /// H.
    pub every: u64,
    /// lr, 0.7 in the paper.
    pub outer_rate: f64,
    /// β, 0.9 in the paper.
    pub beta: f64,
}

/// The model at the start and after every round of H steps.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut theta = problem.start();
    let mut m = vec![0.0; d];
    let mut states = vec![State::new(d); n];
    let mut out = vec![theta.clone()];
    for r in 0..rounds as u64 {
        let mut displacements = Vec::new();
        for i in 0..n {
            let mut local = theta.clone();
            for t in r * settings.every..(r + 1) * settings.every {
                let g = problem.gradient(i, t, &local);
                states[i].step(settings.inner, (settings.rate)(t), &mut local, &g);
            }
            displacements.push(minus(&theta, &local));
        }
        let delta = mean(&displacements);
        for j in 0..d {
            m[j] = settings.beta * m[j] + delta[j];
            theta[j] -= settings.outer_rate * (delta[j] + settings.beta * m[j]);
        }
        out.push(theta.clone());
    }
    out
}
