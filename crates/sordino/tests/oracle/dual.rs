//! Ridge regression by its dual, the rows dealt over workers: what the rows of dual coordinate ascent share.
//!
//! ```text
//! P(w) = (1/n) Σ_i ½ (w·x_i - y_i)² + (λ/2) ‖w‖² ,  y_i = ±1
//! D(α) = (1/n) Σ_i (α_i - ½ α_i²) - (λ/2) ‖w(α)‖² ,  w(α) = C Σ_i α_i y_i x_i ,  C = 1 / (λn)
//! worker k, H times:  pick i in the shard
//!                     δ = (1 - α_i - y_i x_i·(w_k + σ' Δ_k)) / (1 + σ' C ‖x_i‖²)
//!                     α_i += δ ;  Δ_k += C δ y_i x_i
//! ```
//!
//! References: Shalev-Shwartz and Zhang, arXiv 1209.1873 (SDCA); Jaggi et al., arXiv 1409.1458 (CoCoA); Ma et al., arXiv
//! 1502.03508 (CoCoA+).

use std::ops::Range;

/// The rows and who has which.
#[derive(Clone, Debug)]
pub struct Data {
    /// `x_i`.
    pub rows: Vec<Vec<f64>>,
    /// `y_i`, -1 or +1.
    pub labels: Vec<f64>,
    /// The rows of worker k.
    pub shards: Vec<Range<usize>>,
    /// λ.
    pub lambda: f64,
}

/// `u·v`.
pub fn dot(u: &[f64], v: &[f64]) -> f64 {
    (0..u.len()).map(|j| u[j] * v[j]).sum()
}

impl Data {
    /// d.
    pub fn dim(&self) -> usize {
        self.rows[0].len()
    }

    /// `C`.
    pub fn scale(&self) -> f64 {
        1.0 / (self.lambda * self.rows.len() as f64)
    }

    /// `w(α)`.
    pub fn point(&self, alpha: &[f64]) -> Vec<f64> {
        let mut w = vec![0.0; self.dim()];
        for i in 0..alpha.len() {
            for j in 0..w.len() {
                w[j] += self.scale() * alpha[i] * self.labels[i] * self.rows[i][j];
            }
        }
        w
    }

    /// `P(w)`.
    pub fn primal(&self, w: &[f64]) -> f64 {
        let n = self.rows.len();
        let loss = (0..n).map(|i| 0.5 * (dot(w, &self.rows[i]) - self.labels[i]).powi(2)).sum::<f64>();
        loss / n as f64 + 0.5 * self.lambda * dot(w, w)
    }

    /// `D(α)`.
    pub fn dual(&self, alpha: &[f64]) -> f64 {
        let w = self.point(alpha);
        let gain = alpha.iter().map(|a| a - 0.5 * a * a).sum::<f64>();
        gain / alpha.len() as f64 - 0.5 * self.lambda * dot(&w, &w)
    }

    /// `P(w) - D(α)`, never negative.
    pub fn gap(&self, w: &[f64], alpha: &[f64]) -> f64 {
        self.primal(w) - self.dual(alpha)
    }
}

/// How a worker looks for its own part.
#[derive(Clone, Copy)]
pub struct Solver<'a> {
    /// σ'.
    pub sigma: f64,
    /// The factor of `C ‖x_i‖²`: σ' by the subproblem, 1 in the code of ACPD's authors.
    pub curvature: f64,
    /// H.
    pub steps: usize,
    /// Which of its rows, from 0: `(worker, how often it solved before, step)`.
    pub pick: &'a dyn Fn(usize, u64, usize) -> usize,
}

/// Worker k's H steps; α on its shard and Δ_k move.
pub fn solve(
    data: &Data,
    solver: &Solver,
    (k, job): (usize, u64),
    alpha: &mut [f64],
    (w, delta): (&[f64], &mut [f64]),
) {
    let c = data.scale();
    for h in 0..solver.steps {
        let i = data.shards[k].start + (solver.pick)(k, job, h);
        let (x, y) = (&data.rows[i], data.labels[i]);
        let margin = y * (dot(x, w) + solver.sigma * dot(x, delta));
        let step = (1.0 - alpha[i] - margin) / (1.0 + solver.curvature * c * dot(x, x));
        alpha[i] += step;
        for j in 0..x.len() {
            delta[j] += c * step * y * x[j];
        }
    }
}

/// What is remembered between rounds.
#[derive(Clone, Debug)]
pub struct Held {
    /// w.
    pub w: Vec<f64>,
    /// All of α.
    pub alpha: Vec<f64>,
}

/// Synchronous rounds: everybody solves from w, γ of the moves is kept; what is held at the start and after every round.
pub fn rounds(data: &Data, solver: &Solver, gamma: f64, rounds: usize) -> Vec<Held> {
    let (n, d) = (data.rows.len(), data.dim());
    let mut held = Held { w: vec![0.0; d], alpha: vec![0.0; n] };
    let mut out = vec![held.clone()];
    for r in 0..rounds as u64 {
        let mut sum = vec![0.0; d];
        for k in 0..data.shards.len() {
            let old = held.alpha.clone();
            let mut delta = vec![0.0; d];
            solve(data, solver, (k, r), &mut held.alpha, (&held.w, &mut delta));
            for i in data.shards[k].clone() {
                held.alpha[i] = old[i] + gamma * (held.alpha[i] - old[i]);
            }
            for j in 0..d {
                sum[j] += delta[j];
            }
        }
        for j in 0..d {
            held.w[j] += gamma * sum[j];
        }
        out.push(held.clone());
    }
    out
}
