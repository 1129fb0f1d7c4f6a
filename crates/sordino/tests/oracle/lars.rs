//! LARS (`lars`): synchronous momentum SGD whose step is scaled, tensor by tensor, to the length of the weights.
//!
//! ```text
//! all:         G = (1/N) Σ_k g_k(x) + wd x
//! tensor l:    s_l = η ‖x_l‖ / (‖G_l‖ + ε)      (1 for biases and normalisation, and where ‖x_l‖ or ‖G_l‖ is 0)
//!              m_l ← μ m_l + G_l ;  x_l ← x_l - γ s_l m_l
//! ```
//!
//! The scale multiplies the whole buffer with its value of the current step; it is no part of the buffer. The norm is
//! that of the gradient and the decay together. Biases are decayed too unless `decay_rest` is off.
//!
//! Reference: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", arXiv 1708.03888, in the form
//! of the code of Huo et al., arXiv 2002.01576; the paper's denominator is `‖g_l‖ + wd ‖x_l‖`.

use super::{
    layers::Tensor,
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// Decay biases and normalisation too, as the code does.
    pub decay_rest: bool,
    /// η, the trust coefficient.
    pub trust: f64,
    /// ε, 1e-6 in the code.
    pub epsilon: f64,
    /// The tensors, which cover the vector.
    pub tensors: Vec<Tensor>,
}

/// The decayed gradient G of `g` at `x`.
pub fn decayed(g: &[f64], x: &[f64], decay: f64, decay_rest: bool, tensors: &[Tensor]) -> Vec<f64> {
    let mut big = g.to_vec();
    for tensor in tensors {
        if tensor.weight || decay_rest {
            for j in tensor.start..tensor.end {
                big[j] += decay * x[j];
            }
        }
    }
    big
}

/// `s_l`.
pub fn scale(tensor: &Tensor, x: &[f64], big: &[f64], trust: f64, epsilon: f64) -> f64 {
    let (weights, slope) = (tensor.norm(x), tensor.norm(big));
    if !tensor.weight || weights == 0.0 || slope == 0.0 { 1.0 } else { trust * weights / (slope + epsilon) }
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut m = vec![0.0; problem.dim()];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let rows: Vec<Vec<f64>> = (0..problem.workers()).map(|k| problem.gradient(k, t, &x)).collect();
        let big = decayed(&mean(&rows), &x, settings.decay, settings.decay_rest, &settings.tensors);
        for tensor in &settings.tensors {
            let s = scale(tensor, &x, &big, settings.trust, settings.epsilon);
            for j in tensor.start..tensor.end {
                m[j] = settings.momentum * m[j] + big[j];
                x[j] -= (settings.rate)(t) * s * m[j];
            }
        }
        out.push(x.clone());
    }
    out
}
