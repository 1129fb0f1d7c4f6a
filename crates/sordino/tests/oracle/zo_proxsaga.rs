//! ZO-ProxSAGA (`zo-proxsaga`): proximal SAGA whose gradients are differences of values.
//!
//! ```text
//! A_i = ĝ_i(x_0) ;  Ā = (1/n) Σ_i A_i
//! step t:   I and J: b indices each
//!           v = (1/b) Σ_{i in I} (ĝ_i(x) - A_i) + Ā
//!           for i in J:  A_i ← ĝ_i(x)                    (x before the step; Ā follows)
//!           x ← prox_ηψ(x - η v)
//! ```
//!
//! J is independent of I by the analysis; who draws J = I has the other reading. GauSGE draws a new direction for
//! sample i each time A_i is replaced, keeps it beside A_i, and takes ĝ_i(x) along it in the difference. A direction
//! that is never drawn again probes every f_i along one line only: the method then stands still at a wrong point.
//!
//! Reference: Huang et al., "Faster Gradient-Free Proximal Stochastic Methods for Nonconvex Nonsmooth Optimization",
//! arXiv 1902.06158.

use super::{
    differences::{Estimator, Sum, estimate},
    problem::Rate,
    prox::Prox,
    vectors::mean,
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
    /// J of a step.
    pub redraw: &'a dyn Fn(u64) -> Vec<usize>,
    /// u of (how many steps were taken before this one plus one, sample); 0 for the first table.
    pub direction: &'a dyn Fn(u64, usize) -> Vec<f64>,
}

/// The model at the start and after every step.
pub fn trajectory(sum: &Sum, settings: &Settings, start: &[f64], steps: u64) -> Vec<Vec<f64>> {
    let (n, d) = (sum.n, sum.d);
    let g = |i: usize, x: &[f64], u: &[f64]| estimate(sum, settings.estimator, i, x, u);
    let mut x = start.to_vec();
    let mut u: Vec<Vec<f64>> = (0..n).map(|i| (settings.direction)(0, i)).collect();
    let mut table: Vec<Vec<f64>> = (0..n).map(|i| g(i, &x, &u[i])).collect();
    let mut out = vec![x.clone()];
    for t in 0..steps {
        let batch = (settings.draw)(t);
        let mut v = mean(&table);
        for &i in &batch {
            let here = g(i, &x, &u[i]);
            for j in 0..d {
                v[j] += (here[j] - table[i][j]) / batch.len() as f64;
            }
        }
        for &i in &(settings.redraw)(t) {
            u[i] = (settings.direction)(t + 1, i);
            table[i] = g(i, &x, &u[i]);
        }
        let eta = (settings.rate)(t);
        let moved: Vec<f64> = (0..d).map(|j| x[j] - eta * v[j]).collect();
        x = settings.prox.step(&moved, eta);
        out.push(x.clone());
    }
    out
}
