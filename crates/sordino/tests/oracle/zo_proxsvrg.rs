//! ZO-ProxSVRG (`zo-proxsvrg`): proximal SVRG whose gradients are differences of values.
//!
//! ```text
//! x̃ = x_0
//! for s = 0..S:   G = (1/n) Σ_i ĝ_i(x̃) ;  x = x̃
//!   for t = 0..m:   I: b indices
//!                   v = (1/b) Σ_{i in I} (ĝ_i(x) - ĝ_i(x̃)) + G
//!                   x ← prox_ηψ(x - η v)
//!   x̃ = x
//! ```
//!
//! GauSGE must look along the same direction in both terms of a difference, and along new ones in every epoch: answer
//! by `epoch` and `sample` alone. Who answers by `at` as well has the method that keeps the variance of its directions.
//!
//! Reference: Huang et al., "Faster Gradient-Free Proximal Stochastic Methods for Nonconvex Nonsmooth Optimization",
//! arXiv 1902.06158.

use super::{
    differences::{Estimator, Sum, estimate},
    problem::Rate,
    prox::Prox,
};

/// Where an estimate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At x̃, for G.
    Full,
    /// At x̃, in step t of the epoch.
    Snapshot(u64),
    /// At x, in step t of the epoch.
    Here(u64),
}

/// The direction of (epoch, sample, where).
pub type Direction<'a> = &'a dyn Fn(u64, usize, At) -> Vec<f64>;

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step, counted over all epochs.
    pub rate: Rate<'a>,
    /// m.
    pub inner: u64,
    /// ĝ.
    pub estimator: Estimator<'a>,
    /// ψ.
    pub prox: Prox,
    /// I of (epoch, step of the epoch); may hold an index twice.
    pub draw: &'a dyn Fn(u64, u64) -> Vec<usize>,
    /// u.
    pub direction: Direction<'a>,
}

/// The model at the start and after every step of every epoch.
pub fn trajectory(sum: &Sum, settings: &Settings, start: &[f64], epochs: u64) -> Vec<Vec<f64>> {
    let (n, d) = (sum.n, sum.d);
    let g =
        |s: u64, i: usize, at: At, x: &[f64]| estimate(sum, settings.estimator, i, x, &(settings.direction)(s, i, at));
    let mut x = start.to_vec();
    let mut out = vec![x.clone()];
    for s in 0..epochs {
        let snapshot = x.clone();
        let mut full = vec![0.0; d];
        for i in 0..n {
            let own = g(s, i, At::Full, &snapshot);
            for j in 0..d {
                full[j] += own[j] / n as f64;
            }
        }
        for t in 0..settings.inner {
            let batch = (settings.draw)(s, t);
            let mut v = full.clone();
            for &i in &batch {
                let (here, there) = (g(s, i, At::Here(t), &x), g(s, i, At::Snapshot(t), &snapshot));
                for j in 0..d {
                    v[j] += (here[j] - there[j]) / batch.len() as f64;
                }
            }
            let eta = (settings.rate)(s * settings.inner + t);
            let moved: Vec<f64> = (0..d).map(|j| x[j] - eta * v[j]).collect();
            x = settings.prox.step(&moved, eta);
            out.push(x.clone());
        }
    }
    out
}
