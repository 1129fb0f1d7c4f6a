//! Rounds of a caller that makes its own steps: it says late what rate it steps at, and how many steps it made.
//!
//! ```text
//! begin        who speaks · feedback: share, look ahead      the caller stands at `worker().point()`
//! pace         schedule: how many silent steps, at the caller's rate
//!              the caller steps, and writes its offer, or its point where parameters are offered
//! close_after  payload ... outer, as in every round: both of these at once
//!   speak_after  what the steps led to is on its way
//!   hear         what all agreed on moves the model
//! ```
//! Between the last two the caller may make steps of the next round, as many as `pace_ahead` says: `staleness=delayed`. It
//! looks after them by itself: it goes on at what the next `begin` shows, less what they add up to. Hearing sooner than at
//! the last of them changes nothing of that.
//!
//! Where raw gradients are offered, what was agreed on is `worker().update()`: the caller's optimizer is the one that makes
//! a step of it, and `worker().place` says where that led.

use super::round;
use super::session::Session;
use super::told::Told;
use super::worker::Worker;
use crate::base::{Error, Purpose, Result};
use crate::exchange::broadcast;
use crate::schedule;

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

impl Pace {
    fn checked(self) -> Result<Self> {
        if self.rate >= 0.0 && self.rate.is_finite() {
            return Ok(self);
        }
        Err(Error::request(format!("a rate is a number from 0 on, {} came", self.rate)))
    }

    /// So many silent steps, or as many as there may be.
    fn cut(self, silence: u64) -> u64 {
        silence.min(self.most.unwrap_or(u64::MAX)).max(1)
    }
}

/// What a worker knows of a caller that makes its own steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The rate that it steps at: not a number until it has told this round's.
    pub rate: f64,
    /// Since when it has been on its own.
    pub since: f64,
    /// Rank 0's decisions for everybody, while words are on their way.
    pub said: Option<u8>,
}

impl Caller {
    /// On its own from now on, at a rate that it has not told.
    fn at(since: f64) -> Self {
        Self { rate: f64::NAN, since, said: None }
    }
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
        worker.caller = Some(Caller::at(worker.clock.now()));
        Ok(())
    }

    /// How many silent steps the caller makes in the round that `begin` opened.
    pub fn pace(&mut self, pace: Pace) -> Result<u64> {
        self.parts().0.pace(pace)
    }

    /// Closes the round that `begin` opened after so many silent steps, fewer than planned if the caller has come to its
    /// end. The number is the same on every rank.
    pub fn close_after(&mut self, steps: u64, flags: u8) -> Result<Told> {
        self.speak_after(steps, flags)?;
        self.hear()
    }

    /// Ends the silent steps of the round that `begin` opened, and says what they led to. Until `hear` no other word may be
    /// said at this port, and point and offer are the meeting's.
    pub fn speak_after(&mut self, steps: u64, flags: u8) -> Result<()> {
        let (worker, port) = self.parts();
        worker.spent_by_caller(steps)?;
        round::speak(worker, port, flags)?;
        let now = worker.clock.now();
        worker.caller = worker.caller.map(|caller| Caller { since: now, said: Some(flags), ..caller });
        Ok(())
    }

    /// How many steps of the next round the caller may make before that begins, at the rate of the first of them; none where
    /// the run ends before.
    pub fn pace_ahead(&mut self, pace: Pace) -> Result<u64> {
        self.parts().0.pace_ahead(pace)
    }

    /// Between two steps that are made while words travel: what follows on those that are here already is done.
    pub fn progress(&mut self) -> Result<()> {
        let (worker, port) = self.parts();
        let Some(Caller { said: Some(flags), .. }) = worker.caller else { return Ok(()) };
        let began = worker.clock.now();
        worker.progress(port, flags)?;
        worker.talked_since(began);
        let took = worker.clock.now() - began;
        worker.caller = worker.caller.map(|caller| Caller { since: caller.since + took, ..caller });
        Ok(())
    }

    /// Closes the round that `speak_after` spoke in: the model moves by what all agree on.
    pub fn hear(&mut self) -> Result<Told> {
        let (worker, port) = self.parts();
        let Some(Caller { rate, since, said: Some(flags) }) = worker.caller else {
            return Err(Error::request(
                "`hear` waits for what all agree on, and nothing was said; call speak_after first",
            ));
        };
        worker.times.compute += worker.clock.now() - since;
        worker.caller = Some(Caller { rate, since, said: None });
        let told = round::close(worker, port, flags)?;
        worker.caller = Some(Caller { rate, since: worker.clock.now(), said: None });
        Ok(told)
    }

    /// The mean of all ranks' vectors, dense: a collective call.
    pub fn average(&mut self, purpose: &Purpose, vector: &mut [f32]) -> Result<()> {
        let (worker, port) = self.parts();
        worker.heard()?;
        let frame = worker.frame(0);
        worker.average.of(port, purpose, frame, vector)
    }

    /// Rank 0's vector on every rank: a collective call.
    pub fn broadcast(&mut self, purpose: &Purpose, vector: &mut [f32]) -> Result<()> {
        let (worker, port) = self.parts();
        worker.heard()?;
        let frame = worker.frame(0);
        broadcast(port, purpose, frame, vector).map(drop)
    }
}

impl Worker {
    /// Refuses to go on while words are on their way.
    pub(super) fn heard(&self) -> Result<()> {
        match self.caller {
            Some(Caller { said: Some(_), .. }) => {
                Err(Error::request("what all agree on is on its way; call `hear` before the next round or word"))
            }
            _ => Ok(()),
        }
    }

    /// From here on the caller makes the steps.
    fn lend(&mut self) -> Result<()> {
        self.heard()?;
        let cure = match () {
            () if self.federated() => {
                "participation of drawn clients: each needs steps of its own; take participation=everyone"
            }
            () if self.participation.served().is_some() => {
                "a server that serves whoever comes: it says when there is work; take participation=everyone"
            }
            () if !self.local.is_plain() => {
                "local work that is more than the optimizer's steps; take local=descent without `prox`"
            }
            () if !self.asides.is_empty() => {
                "an estimate that tells lists beside the gradient; take local.estimate=plain"
            }
            () => {
                let now = self.clock.now();
                if let Some(caller) = self.caller.filter(|_| self.ahead.goes()) {
                    // Steps made since words were heard sooner than they had to be.
                    self.times.compute += now - caller.since;
                }
                self.caller = Some(Caller::at(now));
                return Ok(());
            }
        };
        Err(Error::request(format!(
            "a caller that makes its own steps cannot have {cure}, or give a gradient to our own"
        )))
    }

    /// The schedule's answer at the caller's rate.
    fn pace(&mut self, pace: Pace) -> Result<u64> {
        self.heard()?;
        let Some(caller) = self.caller else {
            return Err(Error::request("`pace` was asked for before `begin` had opened a round; call begin first"));
        };
        self.caller = Some(Caller { rate: pace.checked()?.rate, ..caller });
        self.begin_silence_at(pace.rate, pace.warming);
        self.silence = pace.cut(self.silence);
        Ok(self.silence)
    }

    /// How many of the next round's steps may be made before it begins.
    fn pace_ahead(&mut self, pace: Pace) -> Result<u64> {
        let (round, step, previous) = match self.caller {
            Some(Caller { said: Some(_), rate, .. }) => (self.round + 1, self.step + self.silence, Some(rate)),
            // What was on its way has been heard already.
            _ => (self.round, self.step, self.previous_rate),
        };
        let facts = self.facts(round, step, pace.checked()?.rate, previous, pace.warming);
        if facts.steps.is_some_and(|total| step >= total) {
            return Ok(0);
        }
        Ok(pace.cut(schedule::clamped(&*self.schedule, &facts)).min(self.ahead.most()))
    }

    /// The caller has made so many silent steps.
    fn spent_by_caller(&mut self, steps: u64) -> Result<()> {
        self.heard()?;
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
