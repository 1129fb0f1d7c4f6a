//! BinGrad-b (`bingrad-b`): two levels, fully biased, no randomness.
//!
//! ```text
//! b_0 = mean(v) ;  b_1 = mean of the entries >= b_0 ;  b_{-1} = mean of the entries < b_0
//! Q_j = b_1 if v_j >= b_0, else b_{-1}
//! ```
//!
//! per bucket, with the one-pass threshold in place of the iterated one.
//!
//! Reference: "Optimal Gradient Quantization Condition for Communication-Efficient Distributed Training", arXiv
//! 2002.11082.

use super::{
    cut::Cut,
    inner::Inner,
    problem::{Problem, Rate},
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

/// The two levels of one bucket, lower first; both are the same where all entries are.
pub fn levels(bucket: &[f64]) -> Vec<f64> {
    let mean_of = |side: Vec<f64>| side.iter().sum::<f64>() / side.len() as f64;
    let threshold = mean_of(bucket.to_vec());
    let above: Vec<f64> = bucket.iter().copied().filter(|&v| v >= threshold).collect();
    let below: Vec<f64> = bucket.iter().copied().filter(|&v| v < threshold).collect();
    if above.is_empty() || below.is_empty() { vec![threshold; 2] } else { vec![mean_of(below), mean_of(above)] }
}

/// One bucket decoded.
pub fn quantize(bucket: &[f64]) -> Vec<f64> {
    let threshold = bucket.iter().sum::<f64>() / bucket.len() as f64;
    let l = levels(bucket);
    bucket.iter().map(|&v| if v >= threshold { l[1] } else { l[0] }).collect()
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    descend(problem, settings.rate, settings.inner, rounds, &|_, _, g| {
        settings.cut.apply(g, &|bucket, _| quantize(bucket))
    })
}
