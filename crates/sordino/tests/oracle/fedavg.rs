//! Federated averaging (`fedavg`): the clients that report work from the server's model, and the server takes the mean
//! of where they arrive, weighted by their samples.
//!
//! ```text
//! client k:  y_k = x ;  as many times as it has steps:  y_k ← y_k - γ g_k(y_k)
//! server:    x ← Σ_{k in S} (n_k / Σ_S n) y_k                        (S empty: x stays)
//! ```
//!
//! Reference: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", arXiv
//! 1602.05629, with the weights normalised over the clients that report.

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
    /// Who reports.
    pub clients: Clients<'a>,
}

/// The server's model at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let local = (settings.inner, settings.rate, 0.0);
        if let Some(delta) = displacement(problem, &settings.clients, r, local, &x) {
            for j in 0..x.len() {
                x[j] += delta[j];
            }
        }
        out.push(x.clone());
    }
    out
}
