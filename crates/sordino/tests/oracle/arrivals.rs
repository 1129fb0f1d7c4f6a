//! A server whose workers come back one at a time: what the asynchronous rows share.
//!
//! ```text
//! at first every worker has x_0
//! t = 0, 1, ...:  a worker comes back with g = ∇f(x_{t-τ}), τ = t - the version it was given
//!                 x_{t+1} = what the row makes of (x_t, g, τ, x_{t-τ})
//!                 it is given x_{t+1} and goes on
//! ```
//!
//! Every arrival counts as a step of the server, taken or not. Who comes back when is given; what the j-th job of a
//! worker sees is step j of the problem.

use super::problem::Problem;

/// What came back.
pub struct Arrival<'a> {
    /// t.
    pub step: u64,
    /// τ.
    pub delay: u64,
    /// `x_{t-τ}`.
    pub point: &'a [f64],
    /// The gradient there.
    pub gradient: &'a [f64],
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Run {
    /// The server's model at the start and after every arrival.
    pub models: Vec<Vec<f64>>,
    /// τ of every arrival.
    pub delays: Vec<u64>,
    /// How old what a worker still has is at the end, in steps of the server.
    pub ages: Vec<u64>,
}

/// Lets the workers come back in this order; `apply` moves the model.
pub fn serve(problem: &dyn Problem, order: &[usize], apply: &dyn Fn(&Arrival, &mut [f64])) -> Run {
    let n = problem.workers();
    let mut x = problem.start();
    let (mut given, mut jobs) = (vec![(0, x.clone()); n], vec![0; n]);
    let mut run = Run { models: vec![x.clone()], delays: Vec::new(), ages: Vec::new() };
    for (t, &k) in order.iter().enumerate() {
        let (version, point) = &given[k];
        let gradient = problem.gradient(k, jobs[k], point);
        let delay = t as u64 - version;
        apply(&Arrival { step: t as u64, delay, point, gradient: &gradient }, &mut x);
        given[k] = (t as u64 + 1, x.clone());
        jobs[k] += 1;
        run.delays.push(delay);
        run.models.push(x.clone());
    }
    run.ages = given.iter().map(|(version, _)| order.len() as u64 - version).collect();
    run
}
