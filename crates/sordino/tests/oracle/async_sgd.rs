//! Asynchronous SGD (`async-sgd`): a gradient is applied as it comes, however old.
//!
//! ```text
//! x_{t+1} = x_t - η g
//! ```
//!
//! Reference: Koloskova, Stich and Jaggi, "Sharper Convergence Guarantees for Asynchronous SGD for Distributed and
//! Federated Learning", arXiv 2206.08307, Algorithm 1 with a constant rate and as many jobs under way as workers.

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
    serve(problem, order, &|arrival, x| {
        for j in 0..x.len() {
            x[j] -= (settings.rate)(arrival.step) * arrival.gradient[j];
        }
    })
}
