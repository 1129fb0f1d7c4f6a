//! Steps of the next round that are made while the words of this one travel: delayed averaging.
//!
//! ```text
//! speak       what the H steps of this round add up to is on its way to the others
//! meanwhile   min(τ, H') steps of the next round, of H', from where this one's have led:   D' ← what they add up to
//! close       agreed: the model moves;  the next round goes on at  look ahead(model) − D',  with H' − τ steps left
//! ```
//! A round ends where its words have been taken in, so nothing is in flight when a run is looked at, stopped or saved;
//! what is saved are the steps made meanwhile. The last round of a run has no next one and closes at once. Raw gradients
//! move nothing until all have agreed: the one step made meanwhile takes its gradient at the model before.

use std::ops::Range;

use super::seats::{draws_of, steps_of};
use super::worker::Worker;
use crate::base::{Aside, Former, Layout, Result, State, flat};
use crate::fabric::Port;
use crate::local::{Ground, Spent};
use crate::payload::Payload;
use crate::schedule;
use crate::workload::Workload;

/// The silent steps of a round.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Which round.
    pub round: u64,
    /// The run's step that it begins with.
    pub step: u64,
    /// The worker's draw that it begins with.
    pub draw: u64,
    /// How many steps of the run it counts for.
    pub silence: u64,
}

/// What was made of the next round while words travelled.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    /// τ: how many steps at most.
    most: u64,
    made: u64,
    offer: Vec<f32>,
    spent: Spent,
}

impl Ahead {
    /// At most `most` steps ahead of what is agreed on.
    pub fn new(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    /// τ.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Whether any are made.
    pub fn goes(&self) -> bool {
        self.most > 0
    }

    /// How many have been made of the round that opens next.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Moves the point where a round begins to where the steps made ahead have led from there.
    pub fn replay(&self, payload: Payload, point: &mut [f32]) {
        if self.made > 0 && payload != Payload::Gradient {
            flat::subtract(point, &self.offer);
        }
    }

    /// Hands over what has been made: how many steps, what they add up to, and what they found.
    pub fn hand_over(&mut self, offer: &mut Vec<f32>) -> (u64, Spent) {
        let made = std::mem::take(&mut self.made);
        if made > 0 {
            std::mem::swap(offer, &mut self.offer);
        }
        (made, std::mem::take(&mut self.spent))
    }

    /// Puts what has been made into `state`.
    pub fn save(&self, state: &mut State) {
        if self.made == 0 {
            return;
        }
        state.put("offer", &self.offer);
        state.put_numbers("made", &[self.made]);
        state.put_numbers("spent", &[self.spent.loss.to_bits(), self.spent.clipped, self.spent.clipped_rows]);
        for aside in &self.spent.asides {
            state.put(&format!("asides/{}", aside.name), &aside.values);
        }
    }

    /// Takes it back; `asides` are the lists that travel beside an offer, as zeros.
    pub fn load(&mut self, state: &State, layout: &Layout, asides: &[Aside]) -> Result<()> {
        *self = Self::new(self.most);
        if !state.vectors.contains_key("offer") {
            return Ok(());
        }
        self.offer.resize(layout.len(), 0.0);
        state.take("offer", &mut self.offer)?;
        [self.made] = state.take_numbers("made")?;
        let [loss, clipped, clipped_rows] = state.take_numbers("spent")?;
        self.spent = Spent { loss: f64::from_bits(loss), clipped, clipped_rows, asides: asides.to_vec() };
        for aside in &mut self.spent.asides {
            state.take(&format!("asides/{}", aside.name), &mut aside.values)?;
        }
        Ok(())
    }

    /// What every rank of a run with another number of ranks takes back, so that the model is owed what it was owed: the
    /// mean of what each had made.
    pub fn deal(former: &Former) -> Result<State> {
        let (mut state, all) = (State::default(), former.each().collect::<Vec<_>>());
        let Some(first) = all.first().filter(|first| first.vectors.contains_key("offer")) else { return Ok(state) };
        former.put_mean("offer", former.crowd(), &mut state)?;
        for name in first.vectors.keys().filter(|name| name.starts_with("asides/")) {
            former.put_mean(name, 1.0, &mut state)?;
        }
        let (mut sums, mut most) = ([0.0, 0.0, 0.0], 0);
        for theirs in &all {
            let [made]: [u64; 1] = theirs.take_numbers("made")?;
            let [loss, clipped, rows]: [u64; 3] = theirs.take_numbers("spent")?;
            for (sum, one) in sums.iter_mut().zip([f64::from_bits(loss), clipped as f64, rows as f64]) {
                *sum += one / all.len() as f64;
            }
            most = made.max(most);
        }
        let [loss, clipped, rows] = sums;
        state.put_numbers("made", &[most]);
        state.put_numbers("spent", &[loss.to_bits(), clipped as u64, rows as u64]);
        Ok(state)
    }
}

impl Worker {
    /// The silent steps of this round.
    pub(super) fn stretch(&self) -> Stretch {
        Stretch { round: self.round, step: self.step, draw: self.draws, silence: self.silence }
    }

    /// Those of the next, if there will be one: what its opening will say again.
    fn next_stretch(&mut self) -> Option<Stretch> {
        let (round, step) = (self.round + 1, self.step + self.silence);
        let spent_up = self.guard.as_mut().is_some_and(|guard| guard.exhausted(round).unwrap_or(false));
        if spent_up || self.total().is_some_and(|total| step >= total) {
            return None;
        }
        let anneal = &self.optimizer.anneal;
        let facts = self.facts(round, step, anneal.rate(step), Some(self.rate()), step < anneal.warmup());
        let silence = schedule::clamped(&*self.schedule, &facts);
        Some(Stretch { round, step, draw: self.draws + self.silence, silence })
    }

    /// How many steps the voice that has the floor makes in these.
    pub(super) fn steps_in(&self, stretch: &Stretch) -> u64 {
        steps_of(&*self.schedule, &self.rows, self.voice.client, self.batch, stretch.silence)
    }

    /// While words travel: the first steps of the next round, from where this one's have led.
    pub(super) fn meanwhile(&mut self, port: &mut dyn Port, workload: &mut dyn Workload, flags: u8) -> Result<()> {
        let Some(stretch) = self.ahead.goes().then(|| self.next_stretch()).flatten() else { return Ok(()) };
        for made in 0..self.steps_in(&stretch).min(self.ahead.most) {
            std::mem::swap(&mut self.offer, &mut self.ahead.offer);
            self.offer.resize(self.layout.len(), 0.0);
            let found = self.work(workload, &stretch, made..made + 1);
            std::mem::swap(&mut self.offer, &mut self.ahead.offer);
            self.ahead.spent.join(found?, made, 1);
            self.ahead.made = made + 1;
            let began = self.clock.now();
            self.progress(port, flags)?;
            self.talked_since(began);
        }
        Ok(())
    }

    /// A part of the silent steps of the voice that has the floor, on our own optimizer.
    pub(super) fn work(&mut self, workload: &mut dyn Workload, stretch: &Stretch, part: Range<u64>) -> Result<Spent> {
        let (began, cpu) = (self.clock.now(), self.clock.cpu());
        let (client, steps) = (self.voice.client, self.steps_in(stretch));
        let draw = draws_of(&*self.schedule, &self.rows, client, self.batch, stretch.round, stretch.draw);
        let mut ground = Ground {
            workload,
            optimizer: &mut self.optimizer,
            seed: self.seed,
            client,
            draw,
            step: stretch.step,
            silence: stretch.silence,
            part: part.clone(),
            voices: self.seats.voices.len(),
            gain: self.aggregator.gain(self.seats.voices.len() as f64, self.seats.expected),
            layout: &self.layout,
        };
        let spent = self.local.spend(&mut ground, &mut self.point, &mut self.buffers, &mut self.offer, steps)?;
        let waited = self.local.talked();
        if !self.seats.clients && waited.is_none() {
            self.clock.worked(client, stretch.round, part, self.clock.now() - began);
        }
        let waited = waited.unwrap_or(0.0);
        self.times.close += waited;
        self.times.compute += self.clock.now() - began - waited;
        self.times.cpu += self.clock.cpu() - cpu;
        Ok(spent)
    }
}
