//! What a round found.

use pyo3::prelude::*;
use sordino::engine;

/// What a round found.
#[pyclass(module = "sordino", frozen, get_all)]
#[derive(Clone)]
pub struct Told {
    /// Rounds done.
    rounds: u64,
    /// Local steps done.
    steps: u64,
    /// Local steps of this round.
    silence: u64,
    /// The rate of the round's first step.
    rate: f64,
    /// Mean mini-batch loss of this rank over the round; NaN where the caller made the steps.
    loss: f64,
    /// How many of the round's steps were shortened by clipping.
    clipped: u64,
    /// How many offers of this rank were shortened by clipping before they were sent.
    shortened: u64,
    /// How many spoke in all.
    voices: u64,
    /// The norm of what the feedback remembers.
    residual_norm: Option<f64>,
    /// What has been spent of privacy so far, where anything hides contributions.
    epsilon: Option<f64>,
    /// What rank 0 decided for everybody.
    flags: u8,
}

impl Told {
    /// What a round told, with the loss left out where nobody of ours looked at one.
    pub fn of(told: &engine::Told, by_caller: bool) -> Self {
        Self {
            rounds: told.rounds,
            steps: told.steps,
            silence: told.silence,
            rate: told.rate,
            loss: if by_caller { f64::NAN } else { told.loss },
            clipped: told.clipped,
            shortened: told.shortened,
            voices: told.voices,
            residual_norm: told.residual_norm,
            epsilon: told.epsilon,
            flags: told.flags,
        }
    }
}

#[pymethods]
impl Told {
    fn __repr__(&self) -> String {
        format!("<round {}: {} steps, loss {}>", self.rounds, self.silence, self.loss)
    }
}
