//! LAMB (`lamb`): Adam's direction, scaled tensor by tensor to the length of the weights.
//!
//! ```text
//! all:         g = (1/N) Σ_k g_k(x) ;  m ← β₁ m + (1 - β₁) g ;  v ← β₂ v + (1 - β₂) g²
//! tensor l:    r_l = m̂_l / (√v̂_l + ε) + wd x_l ,  m̂ = m / (1 - β₁ᵗ) ,  v̂ = v / (1 - β₂ᵗ)       (t = 1, 2, ...)
//!              x_l ← x_l - γ (φ(‖x_l‖) / ‖r_l‖) r_l ,  φ(z) = min(z, cap)
//! ```
//!
//! The ratio is 1 for biases and normalisation, and where φ or ‖r_l‖ is 0.
//!
//! Reference: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv 1904.00962.

use super::{
    layers::Tensor,
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// wd.
    pub decay: f64,
    /// Decay biases and normalisation too.
    pub decay_rest: bool,
    /// The largest norm of weights that counts; 10 in the paper's runs.
    pub cap: f64,
    /// The tensors, which cover the vector.
    pub tensors: Vec<Tensor>,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let d = problem.dim();
    let mut x = problem.start();
    let (mut m, mut v, mut r) = (vec![0.0; d], vec![0.0; d], vec![0.0; d]);
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let rows: Vec<Vec<f64>> = (0..problem.workers()).map(|k| problem.gradient(k, t, &x)).collect();
        let g = mean(&rows);
        let (first, second) = (1.0 - settings.beta1.powi(t as i32 + 1), 1.0 - settings.beta2.powi(t as i32 + 1));
        for tensor in &settings.tensors {
            let decay = if tensor.weight || settings.decay_rest { settings.decay } else { 0.0 };
            for j in tensor.start..tensor.end {
                m[j] = settings.beta1 * m[j] + (1.0 - settings.beta1) * g[j];
                v[j] = settings.beta2 * v[j] + (1.0 - settings.beta2) * g[j] * g[j];
                r[j] = (m[j] / first) / ((v[j] / second).sqrt() + settings.epsilon) + decay * x[j];
            }
            let (weights, length) = (tensor.norm(&x).min(settings.cap), tensor.norm(&r));
            let ratio = if !tensor.weight || weights == 0.0 || length == 0.0 { 1.0 } else { weights / length };
            for j in tensor.start..tensor.end {
                x[j] -= (settings.rate)(t) * ratio * r[j];
            }
        }
        out.push(x.clone());
    }
    out
}
