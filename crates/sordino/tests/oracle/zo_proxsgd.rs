//! ZO-ProxSGD, which is no row: proximal SGD whose gradients are differences of values, what variance reduction is
//! measured against.
//!
//! ```text
//! step t:   I: b indices ;  v = (1/b) Σ_{i in I} ĝ_i(x) ;  x ← prox_ηψ(x - η v)
//! ```
//!
//! Reference: Ghadimi, Lan and Zhang, "Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic Composite
//! Optimization", Mathematical Programming 155, 2016.

use super::{
    differences::{Estimator, Sum, estimate},
    problem::Rate,
    prox::Prox,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// ĝ.
    pub estimator: Estimator<'a>,
    /// ψ.
    pub prox: Prox,
    /// I of a step; may hold an index twice.
    pub draw: &'a dyn Fn(u64) -> Vec<usize>,
    /// u of (step, sample).
    pub direction: &'a dyn Fn(u64, usize) -> Vec<f64>,
}

/// The model at the start and after every step.
pub fn trajectory(sum: &Sum, settings: &Settings, start: &[f64], steps: u64) -> Vec<Vec<f64>> {
    let mut x = start.to_vec();
    let mut out = vec![x.clone()];
    for t in 0..steps {
        let batch = (settings.draw)(t);
        let mut v = vec![0.0; sum.d];
        for &i in &batch {
            let own = estimate(sum, settings.estimator, i, &x, &(settings.direction)(t, i));
            for j in 0..sum.d {
                v[j] += own[j] / batch.len() as f64;
            }
        }
        let eta = (settings.rate)(t);
        let moved: Vec<f64> = (0..sum.d).map(|j| x[j] - eta * v[j]).collect();
        x = settings.prox.step(&moved, eta);
        out.push(x.clone());
    }
    out
}
