//! Clip21-SGD2M (`clip21-sgd2m`): Clip21 on a running mean of stochastic gradients, with a damped shift.
//!
//! ```text
//! worker i:  v_i ← (1 - β) v_i + β g_i(x) ;  c_i = clip_τ(v_i - s_i) ;  send c_i + σ ξ_i
//!            s_i ← s_i + β̂ c_i                                       (v_i = s_i = 0 before the first round; no noise)
//! server:    s ← s + (β̂/N) Σ_i (c_i + σ ξ_i) ;  x ← x - γ s           (the new s)
//! ```
//!
//! β = β̂ = 1 without noise is Clip21. The paper steps first and looks then: the same sequence, one step of length 0
//! earlier.
//!
//! Reference: Islamov et al., "Double Momentum and Error Feedback for Clipping with Fast Rates and Differential
//! Privacy", arXiv 2502.11682, from a third party's statement of it.

use super::{
    compress::clip,
    problem::{Problem, Rate},
    vectors::minus,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub tau: f64,
    /// β, the weight of the new gradient.
    pub beta: f64,
    /// β̂, the weight of the clipped difference.
    pub beta_hat: f64,
    /// σ, in the gradient's unit.
    pub deviation: f64,
    /// `ξ`, standard normal: `(worker, step, entry)`.
    pub noise: &'a dyn Fn(usize, u64, usize) -> f64,
}

/// What is remembered between rounds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The model.
    pub x: Vec<f64>,
    /// The server's s.
    pub s: Vec<f64>,
    /// `s_i`, a row a worker.
    pub shifts: Vec<Vec<f64>>,
    /// `v_i`, a row a worker.
    pub means: Vec<Vec<f64>>,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (n, d) = (problem.workers(), problem.dim());
    let rows = vec![vec![0.0; d]; n];
    let mut held = Held { x: problem.start(), s: vec![0.0; d], shifts: rows.clone(), means: rows };
    let mut out = vec![held.clone()];
    for t in 0..rounds as u64 {
        let mut sum = vec![0.0; d];
        for i in 0..n {
            let g = problem.gradient(i, t, &held.x);
            for j in 0..d {
                held.means[i][j] = (1.0 - settings.beta) * held.means[i][j] + settings.beta * g[j];
            }
            let c = clip(&minus(&held.means[i], &held.shifts[i]), settings.tau);
            for j in 0..d {
                sum[j] += c[j] + settings.deviation * (settings.noise)(i, t, j);
                held.shifts[i][j] += settings.beta_hat * c[j];
            }
        }
        for j in 0..d {
            held.s[j] += settings.beta_hat / n as f64 * sum[j];
            held.x[j] -= (settings.rate)(t) * held.s[j];
        }
        out.push(held.clone());
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
