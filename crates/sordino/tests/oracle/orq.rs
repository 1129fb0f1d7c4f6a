//! ORQ (`orq`): unbiased random rounding between 3, 5 or 9 levels, placed where the rounding's variance is least.
//!
//! ```text
//! mid(a, b):  T = the sorted entries in [a, b] ;  q = Σ_T (v - a)/(b - a) ;  T[⌊|T| - q⌋]
//! levels:     {min, max}, then K times: insert mid(a, b) between all neighbours a < b        (2^K + 1 levels)
//! v in [a, b]:  b with probability (v - a)/(b - a), else a
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
    /// 3, 5 or 9.
    pub levels: usize,
    /// The buckets: 2048 entries inside a tensor.
    pub cut: Cut,
}

/// The level between the neighbours `a` and `b`: as many entries lie above it as rounding between `a` and `b` sends up.
fn mid(sorted: &[f64], a: f64, b: f64) -> f64 {
    if a == b {
        return a;
    }
    let inside: Vec<f64> = sorted.iter().copied().filter(|&v| a <= v && v <= b).collect();
    let q: f64 = inside.iter().map(|v| (v - a) / (b - a)).sum();
    let place = (inside.len() as f64 - q).floor() as usize;
    inside[place.min(inside.len() - 1)]
}

/// The `s` levels of one bucket, in order; equal ones where the entries give no more.
pub fn levels(bucket: &[f64], s: usize) -> Vec<f64> {
    let mut sorted = bucket.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut all = vec![sorted[0], sorted[sorted.len() - 1]];
    while all.len() < s {
        let mut finer = vec![all[0]];
        for pair in all.windows(2) {
            finer.push(mid(&sorted, pair[0], pair[1]));
            finer.push(pair[1]);
        }
        all = finer;
    }
    all
}

/// One bucket decoded; `u(j)` is uniform in `[0, 1)`.
pub fn quantize(bucket: &[f64], s: usize, u: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let l = levels(bucket, s);
    let mut out = bucket.to_vec();
    for j in 0..bucket.len() {
        let v = bucket[j];
        for k in 0..s - 1 {
            let (a, b) = (l[k], l[k + 1]);
            if a < v && v < b {
                out[j] = if u(j) < (v - a) / (b - a) { b } else { a };
            }
        }
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize, uniform: Uniform) -> Vec<Vec<f64>> {
    descend(problem, settings.rate, settings.inner, rounds, &|i, r, g| {
        settings.cut.apply(g, &|bucket, first| quantize(bucket, settings.levels, &|j| uniform(i, r, first + j)))
    })
}
