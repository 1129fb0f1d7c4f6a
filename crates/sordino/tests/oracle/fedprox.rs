//! FedProx (`fedprox`): federated averaging whose clients are held back by a spring to where the round began.
//!
//! ```text
//! client k:  y_k = x ;  as many times as it has steps:  y_k ← y_k - γ (g_k(y_k) + μ (y_k - x))
//! server:    x ← Σ_{k in S} (n_k / Σ_S n) y_k                        (S empty: x stays)
//! ```
//!
//! Reference: Li et al., "Federated Optimization in Heterogeneous Networks", arXiv 1812.06127; clients solve inexactly
//! by taking different numbers of steps.

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
    /// μ; 0 is federated averaging.
    pub prox: f64,
    /// Who reports.
    pub clients: Clients<'a>,
}

/// The server's model at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let local = (settings.inner, settings.rate, settings.prox);
        if let Some(delta) = displacement(problem, &settings.clients, r, local, &x) {
            for j in 0..x.len() {
                x[j] += delta[j];
            }
        }
        out.push(x.clone());
    }
    out
}
