//! Mixed clipping (`mixed-clip`): a clipped step along a damped momentum and one along the gradient itself.
//!
//! ```text
//! g = (1/N) Σ_k g_k(x) + wd x ;  m ← β m + (1 - β) g                  (m = 0 before the first step)
//! hard:  h(u) = min(η, γ/‖u‖) u        soft:  h(u) = η u / (1 + η ‖u‖ / γ)
//! x ← x - ν h(m) - (1 - ν) h(g)
//! ```
//!
//! ν = 0 is clipped SGD, ν = 1 clipped momentum. Norms are those of the whole vector, of the averaged gradient.
//!
//! Reference: Zhang et al., "Improved Analysis of Clipping Algorithms for Non-convex Optimization", arXiv 2010.02519,
//! and the authors' code, which mixes by the soft rule.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// How a vector is shortened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `min(η, γ/‖u‖) u`.
    Hard,
    /// `η u / (1 + η ‖u‖/γ)`.
    Soft,
}

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// γ, in units of parameters.
    pub gamma: f64,
    /// ν, the momentum's share.
    pub nu: f64,
    /// β.
    pub beta: f64,
    /// wd.
    pub decay: f64,
    /// Which rule.
    pub rule: Rule,
}

/// `h(u)`.
pub fn shortened(u: &[f64], eta: f64, gamma: f64, rule: Rule) -> Vec<f64> {
    let length = norm(u);
    let factor = match rule {
        Rule::Hard if length == 0.0 => eta,
        Rule::Hard => eta.min(gamma / length),
        Rule::Soft => eta / (1.0 + eta * length / gamma),
    };
    u.iter().map(|a| factor * a).collect()
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let d = problem.dim();
    let mut x = problem.start();
    let mut m = vec![0.0; d];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let rows: Vec<Vec<f64>> = (0..problem.workers()).map(|k| problem.gradient(k, t, &x)).collect();
        let mut g = mean(&rows);
        for j in 0..d {
            g[j] += settings.decay * x[j];
            m[j] = settings.beta * m[j] + (1.0 - settings.beta) * g[j];
        }
        let eta = (settings.rate)(t);
        let along = shortened(&m, eta, settings.gamma, settings.rule);
        let down = shortened(&g, eta, settings.gamma, settings.rule);
        for j in 0..d {
            x[j] -= settings.nu * along[j] + (1.0 - settings.nu) * down[j];
        }
        out.push(x.clone());
    }
    out
}
