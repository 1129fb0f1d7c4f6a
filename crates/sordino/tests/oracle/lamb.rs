//! Naive LAMB (`lamb`): Adam's direction on averaged gradients, normalised per tensor.
//!
//! ```text
//! g = (1/N) Σ_i g_i(x) ;   m ← β₁ m + (1-β₁) g ;   v ← β₂ v + (1-β₂) g²
//! r = (m/(1-β₁ᵗ)) / (√(v/(1-β₂ᵗ)) + ε) + wd x          t counts from 1; no decay for tensors that are no weights
//! s_l = min(‖x_l‖, 10) / ‖r_l‖, 1 where ‖x_l‖ or ‖r_l‖ is 0 and for tensors that are no weights
//! x_l ← x_l - η s_l r_l
//! ```
//!
//! Reference: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv 1904.00962.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// wd.
    pub decay: f64,
    /// Length of every tensor, and whether it is a weight.
    pub tensors: &'a [(usize, bool)],
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let (b1, b2) = (settings.beta1, settings.beta2);
    let mut x = problem.start();
    let (mut m, mut v, mut r) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let mut gradients = Vec::new();
        for i in 0..problem.workers() {
            gradients.push(problem.gradient(i, t, &x));
        }
        let g = mean(&gradients);
        for j in 0..x.len() {
            m[j] = b1 * m[j] + (1.0 - b1) * g[j];
            v[j] = b2 * v[j] + (1.0 - b2) * g[j] * g[j];
            let count = t as i32 + 1;
            r[j] = m[j] / (1.0 - b1.powi(count)) / ((v[j] / (1.0 - b2.powi(count))).sqrt() + settings.epsilon);
        }
        let mut from = 0;
        for (len, weight) in settings.tensors {
            for j in from..from + len {
                r[j] += if *weight { settings.decay * x[j] } else { 0.0 };
            }
            let (w, l) = (norm(&x[from..from + len]), norm(&r[from..from + len]));
            let s = if *weight && w > 0.0 && l > 0.0 { w.min(10.0) / l } else { 1.0 };
            for j in from..from + len {
                x[j] -= (settings.rate)(t) * s * r[j];
            }
            from += len;
        }
        out.push(x.clone());
    }
    out
}
