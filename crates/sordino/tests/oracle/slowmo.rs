//! SlowMo (`slowmo`): local steps, an average, then a slow momentum step along what the round moved.
//!
//! ```text
//! x_i ← x ;  H steps of the local optimizer ;  x̄ = (1/N) Σ_i x_i
//! u ← β u + (x - x̄)/γ ;  x ← x - α γ u                    (γ the rate of the round's first step)
//! ```
//!
//! The local state starts anew in every round for SGD and is kept for Adam.
//!
//! Reference: Wang et al., "SlowMo: Improving Communication-Efficient Distributed SGD with Slow Momentum", arXiv
//! 1910.00643.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// The local optimizer.
    pub inner: Inner,
    /// H.
    pub every: u64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

/// The model at the start and after every round of H steps.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut x = problem.start();
    let mut u = vec![0.0; d];
    let mut states = vec![State::new(d); n];
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        if let Inner::Sgd { .. } = settings.inner {
            states = vec![State::new(d); n];
        }
        let first = r * settings.every;
        let mut local = vec![x.clone(); n];
        for t in first..first + settings.every {
            for i in 0..n {
                let g = problem.gradient(i, t, &local[i]);
                states[i].step(settings.inner, (settings.rate)(t), &mut local[i], &g);
            }
        }
        let x_bar = mean(&local);
        let gamma = (settings.rate)(first);
        for j in 0..d {
            u[j] = settings.beta * u[j] + (x[j] - x_bar[j]) / gamma;
            x[j] -= settings.alpha * gamma * u[j];
        }
        out.push(x.clone());
    }
    out
}
