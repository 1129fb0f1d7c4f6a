//! Post-local SGD (`post-local-sgd`): meet after every step at first, after every H steps from a given step on.
//!
//! ```text
//! H_r = 1 if the round starts before the switch, else H ;   a round of local SGD with H_r steps
//! ```
//!
//! Reference: Lin et al., "Don't Use Large Mini-Batches, Use Local SGD", arXiv 1808.07217.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// The local optimizer; its state stays with its worker.
    pub inner: Inner,
    /// H after the switch.
    pub every: u64,
    /// The first step of the second phase.
    pub switch: u64,
    /// All steps: the last round ends there.
    pub steps: u64,
}

/// The model at the start and after every round, `rounds` of them or fewer if the steps run out.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut x = problem.start();
    let mut states = vec![State::new(problem.dim()); n];
    let mut out = vec![x.clone()];
    let mut first = 0;
    while out.len() <= rounds && first < settings.steps {
        let h = if first < settings.switch { 1 } else { settings.every };
        let end = (first + h).min(settings.steps);
        let mut local = vec![x.clone(); n];
        for t in first..end {
            for i in 0..n {
                let g = problem.gradient(i, t, &local[i]);
                states[i].step(settings.inner, (settings.rate)(t), &mut local[i], &g);
            }
        }
        x = mean(&local);
        out.push(x.clone());
        first = end;
    }
    out
}
