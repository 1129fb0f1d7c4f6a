//! Picky SGD (`picky-sgd`): a gradient counts if the model has not gone far from where it was taken.
//!
//! ```text
//! x_{t+1} = x_t - η g      if ‖x_t - x_{t-τ}‖ ≤ radius         (ε / (2β) in the paper, for a β-smooth function)
//!         = x_t            otherwise
//! ```
//!
//! Reference: Cohen et al., "Asynchronous Stochastic Optimization Robust to Arbitrary Delays", arXiv 2106.11879.

use super::{
    arrivals::{Run, serve},
    problem::{Problem, Rate},
    vectors::{minus, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of the server's step; steps that are not taken count.
    pub rate: Rate<'a>,
    /// How far is too far.
    pub radius: f64,
}

/// What happens if the workers come back in this order.
pub fn run(problem: &dyn Problem, settings: &Settings, order: &[usize]) -> Run {
    serve(problem, order, &|arrival, x| {
        if norm(&minus(x, arrival.point)) <= settings.radius {
            for j in 0..x.len() {
                x[j] -= (settings.rate)(arrival.step) * arrival.gradient[j];
            }
        }
    })
}
