//! QSGD (`qsgd`): magnitudes rounded at random to multiples of `norm / s`.
//!
//! ```text
//! a_j = s |v_j| / ‖v‖ ;  ξ_j = ⌊a_j⌋ + 1 with probability a_j - ⌊a_j⌋, else ⌊a_j⌋ ;  Q_j = ‖v‖ sign(v_j) ξ_j / s
//! ```
//!
//! per bucket; ‖v‖ is the Euclidean norm, or the largest magnitude as practice has it. Unbiased.
//!
//! Reference: Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding", arXiv
//! 1610.02132.

use super::{
    cut::Cut,
    inner::Inner,
    problem::{Problem, Rate, Uniform},
    quantized::descend,
    vectors::norm,
};

/// What a bucket is scaled by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// `‖v‖₂`.
    Euclidean,
    /// `max |v_j|`.
    Largest,
}

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// SGD behind the mean.
    pub inner: Inner,
    /// s, the levels above 0.
    pub levels: u32,
    /// The norm.
    pub scale: Scale,
    /// The buckets: 2048 entries inside a tensor.
    pub cut: Cut,
}

/// The levels of one bucket, from the lowest to the highest: `-s..=s` times `norm / s`.
pub fn levels(bucket: &[f64], s: u32, scale: Scale) -> Vec<f64> {
    let s = i64::from(s);
    (-s..=s).map(|k| size(bucket, scale) * k as f64 / s as f64).collect()
}

/// One bucket decoded; `u(j)` is uniform in `[0, 1)`.
pub fn quantize(bucket: &[f64], s: u32, scale: Scale, u: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let length = size(bucket, scale);
    let mut out = vec![0.0; bucket.len()];
    if length == 0.0 {
        return out;
    }
    for j in 0..bucket.len() {
        let a = bucket[j].abs() / length * f64::from(s);
        let up = if u(j) < a - a.floor() { 1.0 } else { 0.0 };
        out[j] = bucket[j].signum() * length * (a.floor() + up) / f64::from(s);
    }
    out
}

fn size(bucket: &[f64], scale: Scale) -> f64 {
    match scale {
        Scale::Euclidean => norm(bucket),
        Scale::Largest => bucket.iter().fold(0.0, |largest, v| v.abs().max(largest)),
    }
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize, uniform: Uniform) -> Vec<Vec<f64>> {
    descend(problem, settings.rate, settings.inner, rounds, &|i, r, g| {
        settings
            .cut
            .apply(g, &|bucket, first| quantize(bucket, settings.levels, settings.scale, &|j| uniform(i, r, first + j)))
    })
}
