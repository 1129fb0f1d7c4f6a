//! FedAdam (`fedadam`): the mean displacement of the clients is the gradient of Adam at the server.
//!
//! ```text
//! client k:  y_k = x ;  as many times as it has steps:  y_k ← y_k - γ g_k(y_k)
//! server:    Δ = Σ_{k in S} (n_k / Σ_S n) (y_k - x) ;  m ← β₁ m + (1 - β₁) Δ      (S empty: x, m and v stay)
//!            v ← β₂ v + (1 - β₂) Δ² ;  x ← x + η m / (√v + τ)
//! ```
//!
//! `m = 0` and `v = τ²` before the first round; neither is corrected for its start.
//!
//! Reference: Reddi et al., "Adaptive Federated Optimization", arXiv 2003.00295.

use super::{
    clients::{Clients, displacement},
    inner::Inner,
    problem::{Problem, Rate},
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every local step.
    pub rate: Rate<'a>,
    /// What takes the local steps, anew in every round.
    pub inner: Inner,
    /// η, the server's.
    pub outer_rate: f64,
    /// β₁, 0.9 in the paper.
    pub beta1: f64,
    /// β₂, 0.99 in the paper.
    pub beta2: f64,
    /// τ, the adaptivity; 1e-3 in the paper.
    pub tau: f64,
    /// Who reports.
    pub clients: Clients<'a>,
}

/// The server's model at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let d = problem.dim();
    let mut x = problem.start();
    let (mut m, mut v) = (vec![0.0; d], vec![settings.tau * settings.tau; d]);
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let local = (settings.inner, settings.rate, 0.0);
        if let Some(delta) = displacement(problem, &settings.clients, r, local, &x) {
            for j in 0..d {
                let square = delta[j] * delta[j];
                m[j] = settings.beta1 * m[j] + (1.0 - settings.beta1) * delta[j];
                v[j] = settings.beta2 * v[j] + (1.0 - settings.beta2) * square;
                x[j] += settings.outer_rate * m[j] / (v[j].sqrt() + settings.tau);
            }
        }
        out.push(x.clone());
    }
    out
}
