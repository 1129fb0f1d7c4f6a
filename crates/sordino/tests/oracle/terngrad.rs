//! TernGrad (`terngrad`): every entry becomes -s, 0 or +s, with s the largest magnitude of its tensor.
//!
//! ```text
//! s = max_j |v_j| ;   Q_j = s sign(v_j) with probability |v_j| / s, else 0
//! ```
//!
//! Unbiased; the variance is `Σ_j |v_j| (s - |v_j|)`. Without the paper's clipping at 2.5 σ and its shared maximum.
//!
//! Reference: Wen et al., "TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep Learning", arXiv
//! 1705.07878.

use super::{
    cut::Cut,
    inner::Inner,
    problem::{Problem, Rate, Uniform},
    quantized::descend,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// SGD behind the mean.
    pub inner: Inner,
    /// The pieces with a scale of their own: tensors.
    pub cut: Cut,
}

/// The levels of one tensor: -s, 0, s.
pub fn levels(tensor: &[f64]) -> Vec<f64> {
    let s = tensor.iter().fold(0.0f64, |largest, v| v.abs().max(largest));
    vec![-s, 0.0, s]
}

/// One tensor decoded; `u(j)` is uniform in `[0, 1)`.
pub fn quantize(tensor: &[f64], u: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let s = levels(tensor)[2];
    let mut out = vec![0.0; tensor.len()];
    for j in 0..tensor.len() {
        if s > 0.0 && u(j) < tensor[j].abs() / s {
            out[j] = s * tensor[j].signum();
        }
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize, uniform: Uniform) -> Vec<Vec<f64>> {
    descend(problem, settings.rate, settings.inner, rounds, &|i, r, g| {
        settings.cut.apply(g, &|tensor, first| quantize(tensor, &|j| uniform(i, r, first + j)))
    })
}
