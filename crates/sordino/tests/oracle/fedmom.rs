//! FedMom (`fedmom`): a round of federated averaging is a step along a biased gradient; the server adds Nesterov's
//! momentum.
//!
//! ```text
//! client k:  u = w ;  H times: u ← u - γ g_k(u)                      (clients remember nothing)
//! server:    g = Σ_{k in S} p_k (w - u_k) ,  p_k = n_k / Σ_{S} n     (v = w before the first round)
//!            v' = w - η g ;  w ← v' + β (v' - v) ;  v ← v'
//! ```
//!
//! β = 0 and η = 1 is federated averaging. The model is w.
//!
//! Reference: Huo et al., "Faster On-Device Training Using New Federated Momentum Algorithm", arXiv 2002.02090, with the
//! weights of the authors' code.

use super::problem::{Problem, Rate};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every local step.
    pub rate: Rate<'a>,
    /// H, the local steps of a round.
    pub every: u64,
    /// η, the server's.
    pub outer_rate: f64,
    /// β.
    pub beta: f64,
    /// `n_k`, a number a client.
    pub sizes: Vec<f64>,
    /// S of a round, in the order of the sum.
    pub sample: &'a dyn Fn(u64) -> Vec<usize>,
}

/// The model w at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let d = problem.dim();
    let mut w = problem.start();
    let mut v = w.clone();
    let mut out = vec![w.clone()];
    for r in 0..rounds as u64 {
        let sampled = (settings.sample)(r);
        let total: f64 = sampled.iter().map(|&k| settings.sizes[k]).sum();
        let mut g = vec![0.0; d];
        for &k in &sampled {
            let mut u = w.clone();
            for t in r * settings.every..(r + 1) * settings.every {
                let local = problem.gradient(k, t, &u);
                for j in 0..d {
                    u[j] -= (settings.rate)(t) * local[j];
                }
            }
            for j in 0..d {
                g[j] += settings.sizes[k] / total * (w[j] - u[j]);
            }
        }
        if !sampled.is_empty() {
            for j in 0..d {
                let v_new = w[j] - settings.outer_rate * g[j];
                w[j] = v_new + settings.beta * (v_new - v[j]);
                v[j] = v_new;
            }
        }
        out.push(w.clone());
    }
    out
}
