//! Zeroth-order SGD from shared seeds (`zo-seeded`): everybody knows the directions of a step, a worker sends one
//! number for each.
//!
//! ```text
//! worker k:  s_kj = [f_k(x + μ u_j) - f_k(x)] / μ ,  or  [f_k(x + μ u_j) - f_k(x - μ u_j)] / (2μ)      for j < m
//! all:       x ← x - η (1/(N m)) Σ_k Σ_j s_kj u_j
//! ```
//!
//! The numbers are averaged over workers first, in worker order, then multiplied by their directions.
//!
//! Reference: the GauSGE estimator of Huang et al., arXiv 1902.06158, with the directions shared, so that 32 bits travel
//! for a sample and direction.

use super::{differences::along, problem::Rate};

/// Which difference.
#[derive(Clone, Copy, Debug)]
pub enum Difference {
    /// From x onwards.
    Forward,
    /// Around x.
    Central,
}

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// N.
    pub workers: usize,
    /// m, how many directions a step has.
    pub directions: usize,
    /// μ.
    pub mu: f64,
    /// Forward in the paper.
    pub difference: Difference,
    /// What worker k sees in a step: `(k, step, x)`; the same batch for all values of a step.
    pub f: &'a dyn Fn(usize, u64, &[f64]) -> f64,
    /// `u_j` of (step, j), the same for all workers.
    pub direction: &'a dyn Fn(u64, usize) -> Vec<f64>,
}

/// What worker k sends in step t at x: a number a direction.
pub fn numbers(settings: &Settings, k: usize, t: u64, x: &[f64]) -> Vec<f64> {
    let f = |y: &[f64]| (settings.f)(k, t, y);
    let mu = settings.mu;
    (0..settings.directions)
        .map(|j| {
            let u = (settings.direction)(t, j);
            match settings.difference {
                Difference::Forward => (f(&along(x, mu, &u)) - f(x)) / mu,
                Difference::Central => (f(&along(x, mu, &u)) - f(&along(x, -mu, &u))) / (2.0 * mu),
            }
        })
        .collect()
}

/// The model at the start and after every step.
pub fn trajectory(settings: &Settings, start: &[f64], steps: u64) -> Vec<Vec<f64>> {
    let (n, m) = (settings.workers, settings.directions);
    let mut x = start.to_vec();
    let mut out = vec![x.clone()];
    for t in 0..steps {
        let sent: Vec<Vec<f64>> = (0..n).map(|k| numbers(settings, k, t, &x)).collect();
        let mut v = vec![0.0; x.len()];
        for j in 0..m {
            let s = sent.iter().map(|own| own[j]).sum::<f64>() / n as f64;
            let u = (settings.direction)(t, j);
            for l in 0..x.len() {
                v[l] += s * u[l] / m as f64;
            }
        }
        for l in 0..x.len() {
            x[l] -= (settings.rate)(t) * v[l];
        }
        out.push(x.clone());
    }
    out
}
