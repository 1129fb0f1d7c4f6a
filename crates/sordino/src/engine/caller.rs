//! Rounds of a caller that makes its own steps: it says late what rate it steps at, and how many steps it made.
//!
//! ```text
//! begin        who speaks · feedback: share, look ahead      the caller stands at `worker().point()`
//! pace         schedule: how many silent steps, at the caller's rate
//!              the caller steps, and writes its offer, or its point where parameters are offered
//! close_after  payload ... outer, as in every round
//! ```
//! Where raw gradients are offered, what was agreed on is `worker().update()`: the caller's optimizer is the one that makes
//! a step of it, and `worker().place` says where that led.

use super::round;
use super::session::Session;
use super::told::Told;
use super::worker::Worker;
use crate::base::{Error, Purpose, Result};
use crate::exchange::broadcast;

/// What a caller that steps itself knows when a round's first step is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The rate of that step, unscaled by clipping; the same on every rank.
    pub rate: f64,
    /// Whether warm-up is known to last.
    pub warming: bool,
    /// The most silent steps, where the length of the run is not known.
    pub most: Option<u64>,
}

/// What a worker knows of a caller that makes its own steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The rate that it steps at: not a number until it has told this round's.
    pub rate: f64,
    /// Since when it has been on its own.
    pub since: f64,
}

impl Session {
    /// Opens a round of a caller that makes its own steps: afterwards it stands at `worker().point()`. Nothing is said of
    /// the round's length yet.
    pub fn begin(&mut self) -> Result<()> {
        if self.seat().is_some() {
            return Err(Error::request(
                "placement=pipeline makes its own steps, between its blocks; a caller that steps itself takes placement=replicate",
            ));
        }
        let (worker, port) = self.parts();
        worker.lend()?;
        round::open(worker, port)?;
        worker.voices().try_for_each(|voice| worker.enter(voice))?;
        worker.caller = Some(Caller { rate: f64::NAN, since: worker.clock.now() });
        Ok(())
    }

    /// How many silent steps the caller makes in the round that `begin` opened.
    pub fn pace(&mut self, pace: Pace) -> Result<u64> {
        self.parts().0.pace(pace)
    }

    /// Closes the round that `begin` opened after so many silent steps, fewer than planned if the caller has come to its
    /// end. The number is the same on every rank.
    pub fn close_after(&mut self, steps: u64, flags: u8) -> Result<Told> {
        let (worker, port) = self.parts();
        worker.spent_by_caller(steps)?;
        round::speak(worker, port, flags)?;
        round::close(worker, port, flags)
    }

    /// The mean of all ranks' vectors, dense: a collective call.
    pub fn average(&mut self, purpose: &Purpose, vector: &mut [f32]) -> Result<()> {
        let (worker, port) = self.parts();
        let frame = worker.frame(0);
        worker.average.of(port, purpose, frame, vector)
    }

    /// Rank 0's vector on every rank: a collective call.
    pub fn broadcast(&mut self, purpose: &Purpose, vector: &mut [f32]) -> Result<()> {
        let (worker, port) = self.parts();
        let frame = worker.frame(0);
        broadcast(port, purpose, frame, vector).map(drop)
    }
}

impl Worker {
    /// From here on the caller makes the steps.
    fn lend(&mut self) -> Result<()> {
        let cure = match () {
            () if self.federated() => {
                "participation of drawn clients: each needs steps of its own; take participation=everyone"
            }
            () if self.participation.served().is_some() => {
                "a server that serves whoever comes: it says when there is work; take participation=everyone"
            }
            () if self.ahead.goes() => "words that are late: it would have to go on meanwhile; take staleness=fresh",
            () if !self.local.is_plain() => {
                "local work that is more than the optimizer's steps; take local=descent without `prox`"
            }
            () if !self.asides.is_empty() => {
                "an estimate that tells lists beside the gradient; take local.estimate=plain"
            }
            () => {
                self.caller = Some(Caller { rate: f64::NAN, since: self.clock.now() });
                return Ok(());
            }
        };
        Err(Error::request(format!(
            "a caller that makes its own steps cannot have {cure}, or give a gradient to our own"
        )))
    }

    /// The schedule's answer at the caller's rate.
    fn pace(&mut self, pace: Pace) -> Result<u64> {
        let Some(Caller { since, .. }) = self.caller else {
            return Err(Error::request("`pace` was asked for before `begin` had opened a round; call begin first"));
        };
        if !(pace.rate >= 0.0 && pace.rate.is_finite()) {
            return Err(Error::request(format!("a rate is a number from 0 on, {} came", pace.rate)));
        }
        self.caller = Some(Caller { rate: pace.rate, since });
        self.begin_silence_at(pace.rate, pace.warming);
        self.silence = self.silence.min(pace.most.unwrap_or(u64::MAX)).max(1);
        Ok(self.silence)
    }

    /// The caller has made so many silent steps.
    fn spent_by_caller(&mut self, steps: u64) -> Result<()> {
        let since = match self.caller {
            Some(caller) if !caller.rate.is_nan() && (1..=self.silence).contains(&steps) => caller.since,
            Some(caller) if !caller.rate.is_nan() => {
                return Err(Error::request(format!(
                    "a round of {} silent steps was closed after {steps}; make at least one, and no more than `pace` said",
                    self.silence
                )));
            }
            _ => {
                return Err(Error::request(
                    "a round was closed that `begin` and `pace` had not opened; call them first",
                ));
            }
        };
        self.silence = steps;
        let seconds = self.clock.now() - since;
        self.clock.worked(self.rank as u64, self.round, 0..steps, seconds);
        self.times.compute += self.clock.now() - since;
        Ok(())
    }

    /// Says where the caller's own steps have led: the model that the next round begins from, the same on every rank.
    pub fn place(&mut self, model: &[f32]) -> Result<()> {
        self.layout.expect("the model of a caller that makes its own steps", model)?;
        self.model.copy_from_slice(model);
        self.point.copy_from_slice(model);
        Ok(())
    }

    /// What the last meeting subtracted from the model. Where the caller steps itself and raw gradients are offered: the
    /// gradient that was agreed on.
    pub fn update(&self) -> &[f32] {
        &self.update
    }

    /// This worker's buffers, for a caller whose steps change them.
    pub fn buffers_mut(&mut self) -> &mut [f32] {
        &mut self.buffers
    }
}
