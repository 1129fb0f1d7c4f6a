//! BinGrad-pb (`bingrad-pb`): two levels ±b, partially biased: entries beyond b are cut to ±b, the others are rounded
//! at random without bias.
//!
//! ```text
//! b the root of b = (1/n) Σ_j |v_j| 1{|v_j| > b}
//! |v_j| > b:  Q_j = sign(v_j) b ;     else:  Q_j = b with probability (v_j + b) / 2b, else -b
//! ```
//!
//! Reference: "Optimal Gradient Quantization Condition for Communication-Efficient Distributed Training", arXiv
//! 2002.11082.

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
    /// The buckets: 2048 entries inside a tensor.
    pub cut: Cut,
}

/// The two levels of one bucket: -b and b. The left side of the root's equation rises and the right side falls, so
/// halving finds the crossing, at a jump as well.
pub fn levels(bucket: &[f64]) -> Vec<f64> {
    let beyond = |b: f64| bucket.iter().filter(|v| v.abs() > b).map(|v| v.abs()).sum::<f64>() / bucket.len() as f64;
    let (mut low, mut high) = (0.0, bucket.iter().fold(0.0f64, |largest, v| v.abs().max(largest)));
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle < beyond(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    vec![-high, high]
}

/// One bucket decoded; `u(j)` is uniform in `[0, 1)`.
pub fn quantize(bucket: &[f64], u: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let b = levels(bucket)[1];
    let mut out = vec![0.0; bucket.len()];
    for j in 0..bucket.len() {
        let v = bucket[j];
        if b == 0.0 {
            out[j] = 0.0;
        } else if v.abs() > b {
            out[j] = v.signum() * b;
        } else {
            out[j] = if u(j) < (v + b) / (2.0 * b) { b } else { -b };
        }
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize, uniform: Uniform) -> Vec<Vec<f64>> {
    descend(problem, settings.rate, settings.inner, rounds, &|i, r, g| {
        settings.cut.apply(g, &|bucket, first| quantize(bucket, &|j| uniform(i, r, first + j)))
    })
}
