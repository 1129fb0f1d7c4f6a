//! Naive mixed clipping (`mixed-clip`, and `momentum-clip` with ν = 1): averaged gradients, dampened momentum, both
//! clipped.
//!
//! ```text
//! g = (1/N) Σ_i g_i(x) + wd x ;   m ← β m + (1-β) g
//! soft:  x ← x - ν η m/(1 + η‖m‖/γ) - (1-ν) η g/(1 + η‖g‖/γ)
//! hard:  x ← x - ν min(η, γ/‖m‖) m - (1-ν) min(η, γ/‖g‖) g
//! ```
//!
//! Reference: Zhang, Jin, Fang and Wang, "Improved Analysis of Clipping Algorithms for Non-convex Optimization", arXiv
//! 2010.02519; the soft rule is its authors' code.

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
    /// ν.
    pub nu: f64,
    /// β.
    pub beta: f64,
    /// wd.
    pub decay: f64,
    /// Whether the rule is the soft one.
    pub soft: bool,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut m = vec![0.0; problem.dim()];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let (rate, gamma) = ((settings.rate)(t), (settings.gamma)(t));
        let pace = |u: &[f64]| {
            if settings.soft { rate / (1.0 + rate * norm(u) / gamma) } else { rate.min(gamma / norm(u)) }
        };
        let mut gradients = Vec::new();
        for i in 0..problem.workers() {
            gradients.push(problem.gradient(i, t, &x));
        }
        let mut g = mean(&gradients);
        for j in 0..x.len() {
            g[j] += settings.decay * x[j];
            m[j] = settings.beta * m[j] + (1.0 - settings.beta) * g[j];
        }
        let (past, own) = (settings.nu * pace(&m), (1.0 - settings.nu) * pace(&g));
        for j in 0..x.len() {
            x[j] -= past * m[j] + own * g[j];
        }
        out.push(x.clone());
    }
    out
}
