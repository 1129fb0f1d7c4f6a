//! FedBuff (`fedbuff`): clients work from the model they were given, and the server moves when its buffer is full.
//!
//! ```text
//! client k:  y = x_v, the model it was given, version v ;  H times:  y ← y - γ g_k(y) ;  Δ = y - x_v
//! server:    buffer ← buffer + Δ / √(1 + τ)                                 (τ = version now - v)
//!            with `size` of them:  x ← x + η_g buffer / size ;  buffer = 0 ;  version ← version + 1
//!            k is given the model as it is now and goes on
//! ```
//!
//! Versions count the server's moves, not arrivals. Step h of job j of a client is step `j H + h` of the problem.
//!
//! Reference: Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", arXiv 2106.06639. The buffer
//! of displacements, versions that count moves, and weights `(1 + τ)^-a` are in the authors' FLSim; a = ½ and the
//! division by `size`, not by the sum of the weights, are from general knowledge of the paper.

use super::{
    arrivals::Run,
    inner::{Inner, State},
    problem::{Problem, Rate},
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of a client's step, counted over its jobs.
    pub rate: Rate<'a>,
    /// What takes the local steps, anew in every job.
    pub inner: Inner,
    /// H.
    pub steps: u64,
    /// How many displacements the server waits for.
    pub size: usize,
    /// η_g.
    pub outer_rate: f64,
}

/// What happens if the clients come back in this order; delays and ages are in versions.
pub fn run(problem: &dyn Problem, settings: &Settings, order: &[usize]) -> Run {
    let (n, d) = (problem.workers(), problem.dim());
    let mut x = problem.start();
    let (mut given, mut jobs) = (vec![(0, x.clone()); n], vec![0; n]);
    let (mut buffer, mut held, mut now) = (vec![0.0; d], 0, 0);
    let mut run = Run { models: vec![x.clone()], delays: Vec::new(), ages: Vec::new() };
    for &k in order {
        let (version, point) = &given[k];
        let (mut y, mut state) = (point.clone(), State::new(d));
        for t in jobs[k] * settings.steps..(jobs[k] + 1) * settings.steps {
            let g = problem.gradient(k, t, &y);
            state.step(settings.inner, (settings.rate)(t), &mut y, &g);
        }
        let delay = now - version;
        for j in 0..d {
            buffer[j] += (y[j] - point[j]) / (1.0 + delay as f64).sqrt();
        }
        held += 1;
        if held == settings.size {
            for j in 0..d {
                x[j] += settings.outer_rate * buffer[j] / settings.size as f64;
            }
            (buffer, held, now) = (vec![0.0; d], 0, now + 1);
        }
        given[k] = (now, x.clone());
        jobs[k] += 1;
        run.delays.push(delay);
        run.models.push(x.clone());
    }
    run.ages = given.iter().map(|(version, _)| now - version).collect();
    run
}
