//! One voice after another: it takes the floor, works in silence, speaks and leaves.

use super::beside::Table;
use super::fragments::Fragment;
use super::seats::NOBODY;
use super::worker::Worker;
use crate::base::{Purpose, Result, State};
use crate::compress::Class;
use crate::exchange::{Voice, report_beside};
use crate::fabric::{Port, Tag};
use crate::local::Spent;
use crate::optim::Transform;
use crate::payload::Payload;
use crate::workload::Workload;

impl Worker {
    /// A voice takes the floor: a client's state is checked out, and everybody begins from the model.
    pub(super) fn enter(&mut self, voice: Voice) -> Result<()> {
        self.voice = voice;
        if self.seats.clients {
            let state = self.clients.take(voice.client)?.unwrap_or_default();
            for (name, vector) in self.feedback.own().into_iter().chain(self.local.own()) {
                vector.clear();
                vector.extend(state.vectors.get(name).into_iter().flatten());
            }
            if self.payload != Payload::Gradient {
                self.optimizer.chain.reset();
                if state.has("optim") {
                    self.optimizer.chain.load(&state.part("optim"), &self.layout)?;
                }
            }
            self.buffers.copy_from_slice(&self.common);
        }
        self.point.copy_from_slice(&self.model);
        self.feedback.look_ahead(&mut self.point);
        self.ahead.replay(self.payload, &mut self.point);
        Ok(())
    }

    /// A voice that has spoken leaves the floor: a client's state is put back.
    pub(super) fn leave(&mut self) -> Result<()> {
        if !self.seats.clients {
            return Ok(());
        }
        let mut state = State::default();
        for (name, vector) in self.feedback.own().into_iter().chain(self.local.own()) {
            if !vector.is_empty() {
                state.vectors.insert(name.to_owned(), std::mem::take(vector));
            }
        }
        if self.keeps_optimizer() {
            let mut inner = State::default();
            self.optimizer.chain.save(&mut inner);
            state.put_all("optim", inner);
        }
        // Who stands in for nobody is never asked again: what it left unsaid is noise.
        if self.voice.client == NOBODY { Ok(()) } else { self.clients.put(self.voice.client, state) }
    }

    /// The voices this rank speaks for.
    pub(super) fn voices(&self) -> impl Iterator<Item = Voice> + use<> {
        self.seats.of(self.rank)
    }

    /// The silent steps of the voice that has the floor, on our own optimizer.
    pub(super) fn spend(&mut self, workload: &mut dyn Workload) -> Result<()> {
        if self.voice.client == NOBODY {
            self.offer.fill(0.0);
            self.spent = Spent { asides: self.asides.clone(), ..Spent::default() };
            return Ok(());
        }
        let stretch = self.stretch();
        let (made, spent) = self.ahead.hand_over(&mut self.offer);
        self.spent = spent;
        let steps = self.steps_in(&stretch);
        if made < steps {
            let more = self.work(workload, &stretch, made..steps)?;
            self.spent.join(more, made, steps - made);
        }
        Ok(())
    }

    /// What the voice that has the floor gives is bounded and hidden, where anything hides it.
    pub(super) fn hide(&mut self) -> Result<()> {
        let (voice, round, voices) = (self.voice, self.round, self.seats.voices.len());
        self.guard.as_mut().map_or(Ok(()), |guard| guard.hide(voice.client, round, voices, &self.offer))
    }

    /// Whether an offer is overwritten with what all agree on: nobody needs it besides, and it is all there is to say.
    fn overwrites(&mut self) -> bool {
        let lonely = self.feedback.forgets() && self.guard.is_none() && self.asides.is_empty();
        let whole = !self.fragments.several() && !self.seats.clients;
        let engine = lonely && whole && self.exchange.in_place().is_some();
        engine && self.compressor.class(&self.layout) == Class::Lossless
    }

    /// The voice that has the floor says what it gives, and what goes beside it.
    pub(super) fn speak(&mut self, port: &mut dyn Port, flags: u8) -> Result<()> {
        if self.overwrites() {
            self.count();
            return Ok(());
        }
        let (frame, voice) = (self.frame(flags), self.voice);
        let mut table = Table { port: &mut *port, frame, seed: self.seed, seats: &self.seats };
        let Fragment { range, layout, .. } = self.fragments.of(self.round);
        let mut talk = table.talk(&Purpose::Payload, &mut *self.compressor, &mut *self.aggregator, layout);
        let given = self.guard.as_ref().map_or(&self.offer, |guard| &guard.hidden);
        if self.fragments.several() {
            self.said.fill(0.0);
        }
        self.exchange.begin(&mut talk, voice, &given[range.clone()], &mut self.said[range.clone()])?;
        for aside in &self.spent.asides {
            self.beside.say(&Purpose::Aside(aside.name.into()), voice, &aside.values)?;
        }
        if self.seats.clients && !self.buffers.is_empty() {
            self.beside.say(&Purpose::Buffers, voice, &self.buffers)?;
        }
        if self.seats.clients && self.aggregator.weighs() {
            // How many rows it has goes with a client's word, as a worker's does once.
            let rows = self.rows.get(voice.client as usize).copied().unwrap_or(1.0);
            report_beside(port, &Purpose::Aside("weight".into()), frame, &[rows]);
        }
        self.count();
        Ok(())
    }

    /// What was said is settled with what was given.
    pub(super) fn settle(&mut self) {
        let heard = self.guard.as_ref().map_or(&self.said[..], |guard| guard.heard(&self.said));
        self.feedback.settle(&self.offer, heard);
        self.tally.residual_norm = self.feedback.norm();
    }

    /// Between speaking and agreeing: what follows on words that are here already is done.
    pub(super) fn progress(&mut self, port: &mut dyn Port, flags: u8) -> Result<()> {
        port.here(&[], &Tag::across(Purpose::Payload))?;
        let frame = self.frame(flags);
        let mut table = Table { port, frame, seed: self.seed, seats: &self.seats };
        let layout = &self.fragments.of(self.round).layout;
        let mut talk = table.talk(&Purpose::Payload, &mut *self.compressor, &mut *self.aggregator, layout);
        self.exchange.progress(&mut talk)
    }

    /// What all voices agreed on: fills `agreed` and `heard`, returns rank 0's flags.
    pub(super) fn agree(&mut self, port: &mut dyn Port, flags: u8) -> Result<u8> {
        let (frame, overwrites) = (self.frame(flags), self.overwrites());
        let mut table = Table { port: &mut *port, frame, seed: self.seed, seats: &self.seats };
        let Fragment { range, layout, .. } = self.fragments.of(self.round);
        let mut talk = table.talk(&Purpose::Payload, &mut *self.compressor, &mut *self.aggregator, layout);
        if let Some(exchange) = self.exchange.in_place().filter(|_| overwrites) {
            let flags = exchange.overwrite(&mut talk, &mut self.offer)?;
            std::mem::swap(&mut self.offer, &mut self.agreed);
            return Ok(flags);
        }
        if self.fragments.several() {
            self.agreed.fill(0.0);
        }
        let (said, agreed) = (&mut self.said[range.clone()], &mut self.agreed[range.clone()]);
        let flags = self.exchange.finish(&mut talk, said, agreed)?;
        let mut table = Table { port, frame, seed: self.seed, seats: &self.seats };
        self.heard.clone_from(&self.asides);
        for aside in &mut self.heard {
            let purpose = Purpose::Aside(aside.name.into());
            let len = aside.values.len();
            aside.values.copy_from_slice(self.beside.agree(&mut table, &purpose, len)?);
        }
        self.local.agree(&self.heard, self.share());
        if self.seats.clients && !self.buffers.is_empty() {
            let agreed = self.beside.agree(&mut table, &Purpose::Buffers, self.common.len())?;
            self.common.copy_from_slice(agreed);
            self.buffers.copy_from_slice(agreed);
        }
        Ok(flags)
    }

    /// The fraction of clients that spoke.
    pub(super) fn share(&self) -> f32 {
        self.seats.voices.len() as f32 / self.rows.len().max(1) as f32
    }
}
