//! Delay-adaptive asynchronous SGD (`delay-adaptive-sgd`): gradients older than there are workers count less.
//!
//! ```text
//! η_t = η           if τ ≤ τ_C            (τ_C: how many jobs are under way, here one a worker)
//!     = η / τ       if τ > τ_C
//! x_{t+1} = x_t - η_t g
//! ```
//!
//! Reference: Koloskova, Stich and Jaggi, "Sharper Convergence Guarantees for Asynchronous SGD for Distributed and
//! Federated Learning", arXiv 2206.08307. The theorem asks for less than 1/(4Lτ) beyond the threshold, which η/τ is for
//! η < 1/(4L).

use super::{
    arrivals::{Run, serve},
    problem::{Problem, Rate},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of the server's step.
    pub rate: Rate<'a>,
}

/// What happens if the workers come back in this order.
pub fn run(problem: &dyn Problem, settings: &Settings, order: &[usize]) -> Run {
    let concurrency = problem.workers() as u64;
    serve(problem, order, &|arrival, x| {
        let mut eta = (settings.rate)(arrival.step);
        if arrival.delay > concurrency {
            eta /= arrival.delay as f64;
        }
        for j in 0..x.len() {
            x[j] -= eta * arrival.gradient[j];
        }
    })
}
