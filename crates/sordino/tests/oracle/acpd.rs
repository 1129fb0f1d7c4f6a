//! ACPD (`acpd`): dual coordinate ascent whose server waits for B of K workers, and whose workers say the s largest
//! entries of what they moved.
//!
//! ```text
//! outer round:  everybody gets w:  w_k = w ;  Δ_k = 0 ;  u_k = 0
//!   worker k:   H steps with σ' = γK from (w_k, Δ_k) ;  α_[k] ← old + γ (new - old) ;  z_k = top_s(Δ_k) ;  Δ_k -= z_k
//!   inner round j = 1..T:   Φ = the first B to arrive, everybody for j = T
//!               for k in Φ:  w += γ z_k ;  u_q += γ z_k for all q
//!               for k in Φ:  z' = u_k , or top_s(u_k) ;  u_k -= z' ;  w_k += z' ;  k goes on
//!   flush:      w += γ Σ_k Δ_k
//! ```
//!
//! A worker that is not waited for stays under way, and its z is taken in the round in which it arrives. Sums run in
//! worker order, whatever the order of arrival; among equals in `top_s` the lower index goes.
//!
//! Reference: Huo and Huang, "Straggler-Agnostic and Communication-Efficient Distributed Primal-Dual Algorithm for
//! High-Dimensional Data Mining", arXiv 1910.04235; the curvature is the subproblem's, `1 + σ' C ‖x_i‖²`.

use super::dual::{Data, Solver, solve};

/// The way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// All of u_k.
    Pending,
    /// `top_s(u_k)`.
    Top,
}

/// The row's settings.
pub struct Settings<'a> {
    /// γ.
    pub gamma: f64,
    /// B.
    pub group: usize,
    /// T.
    pub inner: u64,
    /// s.
    pub keep: usize,
    /// The way back.
    pub down: Down,
    /// H.
    pub steps: usize,
    /// The factor of `C ‖x_i‖²` if it is not σ'.
    pub curvature: Option<f64>,
    /// Which of its rows, from 0: `(worker, how often it solved before, step)`.
    pub pick: &'a dyn Fn(usize, u64, usize) -> usize,
    /// Who arrives in (outer round, inner round), both from 0, in order; the first B count, no one twice.
    pub arrivals: &'a dyn Fn(u64, u64) -> Vec<usize>,
}

/// Everything that is remembered.
#[derive(Clone, Debug)]
pub struct Held {
    /// w.
    pub w: Vec<f64>,
    /// All of α.
    pub alpha: Vec<f64>,
    /// `w_k`.
    pub local: Vec<Vec<f64>>,
    /// `Δ_k`.
    pub residuals: Vec<Vec<f64>>,
    /// `u_k`.
    pub pending: Vec<Vec<f64>>,
}

/// What was held.
pub struct Run {
    /// After every inner round; in a last one before the flush.
    pub inner: Vec<Held>,
    /// At the start and after every flush.
    pub outer: Vec<Held>,
}

/// The `s` entries of largest magnitude.
pub fn top(v: &[f64], s: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..v.len()).collect();
    order.sort_by(|&a, &b| v[b].abs().total_cmp(&v[a].abs()).then(a.cmp(&b)));
    let mut out = vec![0.0; v.len()];
    for &j in order.iter().take(s) {
        out[j] = v[j];
    }
    out
}

fn add(to: &mut [f64], factor: f64, v: &[f64]) {
    for j in 0..to.len() {
        to[j] += factor * v[j];
    }
}

/// What is held over so many outer rounds.
pub fn run(data: &Data, settings: &Settings, outer: u64) -> Run {
    let (n, d, workers) = (data.rows.len(), data.dim(), data.shards.len());
    let (gamma, sigma) = (settings.gamma, settings.gamma * workers as f64);
    let curvature = settings.curvature.unwrap_or(sigma);
    let solver = Solver { sigma, curvature, steps: settings.steps, pick: settings.pick };
    let zeros = vec![vec![0.0; d]; workers];
    let mut held = Held {
        w: vec![0.0; d],
        alpha: vec![0.0; n],
        local: zeros.clone(),
        residuals: zeros.clone(),
        pending: zeros.clone(),
    };
    let mut jobs = vec![0; workers];
    let mut out = Run { inner: Vec::new(), outer: vec![held.clone()] };
    for l in 0..outer {
        held.local = vec![held.w.clone(); workers];
        held.residuals.clone_from(&zeros);
        held.pending.clone_from(&zeros);
        for j in 0..settings.inner {
            let mut phi = (settings.arrivals)(l, j);
            phi.truncate(settings.group);
            if j + 1 == settings.inner {
                phi = (0..workers).collect();
            }
            phi.sort_unstable();
            for &k in &phi {
                let old = held.alpha.clone();
                solve(data, &solver, (k, jobs[k]), &mut held.alpha, (&held.local[k], &mut held.residuals[k]));
                jobs[k] += 1;
                for i in data.shards[k].clone() {
                    held.alpha[i] = old[i] + gamma * (held.alpha[i] - old[i]);
                }
                let z = top(&held.residuals[k], settings.keep);
                add(&mut held.residuals[k], -1.0, &z);
                add(&mut held.w, gamma, &z);
                for q in 0..workers {
                    add(&mut held.pending[q], gamma, &z);
                }
            }
            for &k in &phi {
                let back = match settings.down {
                    Down::Pending => held.pending[k].clone(),
                    Down::Top => top(&held.pending[k], settings.keep),
                };
                add(&mut held.pending[k], -1.0, &back);
                add(&mut held.local[k], 1.0, &back);
            }
            out.inner.push(held.clone());
        }
        for k in 0..workers {
            add(&mut held.w, gamma, &held.residuals[k]);
        }
        held.residuals.clone_from(&zeros);
        out.outer.push(held.clone());
    }
    out
}
