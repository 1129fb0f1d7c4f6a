//! Naive LARS (`lars`): averaged gradients, momentum, and a scale per tensor outside of it.
//!
//! ```text
//! G = (1/N) Σ_i g_i(x) + wd x ;   m ← μ m + G
//! s_l = τ‖x_l‖ / (‖G_l‖ + ε), 1 where ‖x_l‖ or ‖G_l‖ is 0 and for tensors that are no weights
//! x_l ← x_l - η s_l m_l
//! ```
//!
//! Reference: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", arXiv 1708.03888, in the form
//! of the authors' code of CLARS, arXiv 2002.01576, whose baseline it is.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub trust: f64,
    /// ε.
    pub epsilon: f64,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// Length of every tensor, and whether it is a weight.
    pub tensors: &'a [(usize, bool)],
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
        let mut g = mean(&gradients);
        for j in 0..x.len() {
            g[j] += settings.decay * x[j];
            m[j] = settings.momentum * m[j] + g[j];
        }
        let mut from = 0;
        for (len, weight) in settings.tensors {
            let (w, l) = (norm(&x[from..from + len]), norm(&g[from..from + len]));
            let measured = *weight && w > 0.0 && l > 0.0;
            let s = if measured { settings.trust * w / (l + settings.epsilon) } else { 1.0 };
            for j in from..from + len {
                x[j] -= (settings.rate)(t) * s * m[j];
            }
            from += len;
        }
        out.push(x.clone());
    }
    out
}
