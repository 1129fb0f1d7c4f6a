//! Lying: the last voices of a run lie about what they found, and everything else goes on as if nobody did.
//!
//! # What it does
//! Replaces what liars give by what an attack makes of it, before anything is encoded, around any exchange.
//!
//! # The step
//! ```text
//! liars: the voices of the last `liars` clients;   m, s = mean and deviation of the h honest vectors, entry by entry
//! sign_flip       v ← −scale·v
//! alie            v ← m − z·s,   Φ(z) = (h − ⌊n/2⌋ − 1 + f)/h   for f liars of n voices, at least 0
//! inner_product   v ← −ε·m
//! random          v ← deviation·√(mean of ‖honest‖²/d)·N(0, I),   a draw of its own for every liar
//! ```
//! # Contract
//! A liar is understood to have said what it would have given honestly, so it remembers nothing of its lies; the honest
//! are not touched. Without liars nothing is. What liars must know of the honest is told at `finish`, before the
//! payload travels: the server hears every honest vector in the order of voices, computes in f64 and tells all ranks.
//! These words are counted as control and are no part of training's bytes, and nothing depends on which rank speaks for
//! whom. Liars have the highest client ids, so they are the last of every rank's voices: messages of a rank are still
//! sent in the order of clients, in which a star hears them. Where nobody honest speaks, m, s and the norm are 0.
//! Asides and buffers are told honestly.
//!
//! # When it helps, when it hurts
//! Shows what an aggregator withstands. `sign_flip` and `random` are crude and found by every robust rule; `alie` hides
//! within the spread and passes those without memory, if there are liars enough (with few z is 0, which is no attack at
//! all: set it); `inner_product` turns the mean around while it stays close. Costs a dense copy of all honest vectors.
//!
//! # Reference
//! Baruch, Baruch, Goldberg: A little is enough (1902.06156). Xie, Koyejo, Gupta: Fall of empires (1903.03936).
//! Blanchard et al. (1703.02757) for the others.
//!
//! # Deviations from the paper
//! It decorates the exchange and not the fabric: ports see encoded bytes, and an attack is defined on vectors. The
//! standard deviation divides by h. A majority of liars takes the z of Φ(z) = 1 − 1/(2h).

mod attack;
mod held;
mod hidden;

pub use attack::{Attack, ENTRIES, build};

use std::collections::VecDeque;

use attack::Honest;
use held::{Held, Holding};

use super::{Exchange, Talk, Voice, broadcast, refuse_unfinite};
use crate::base::{Error, Former, Layout, Purpose, Result, State, Stream, Use, Writer};
use crate::fabric::Tag;

/// An exchange in which the last voices of the run lie.
pub struct Lying {
    inner: Box<dyn Exchange>,
    attack: Attack,
    /// Clients from here on lie.
    first: u64,
    /// Payload of honest voices, until all ranks know what liars say.
    held: Held,
    /// Liars of this rank that have not been told the plan.
    waiting: Vec<Voice>,
    /// Honest vectors of rank 0's own voices; spent ones keep their memory.
    own: VecDeque<Vec<f32>>,
    spare: Vec<Vec<f32>>,
    honest: Honest,
    plan: Vec<f32>,
    lie: Vec<f32>,
    /// What liars were understood to have said, which they do not look at.
    unheeded: Vec<f32>,
    out: Writer,
    heard: Vec<u8>,
}

impl Lying {
    /// `inner`, in which the last `liars` of `clients` (all there are, or all ranks) lie.
    pub fn new(inner: Box<dyn Exchange>, attack: Attack, clients: usize, liars: usize) -> Self {
        Self {
            inner,
            attack,
            first: clients.saturating_sub(liars) as u64,
            held: Held::default(),
            waiting: Vec::new(),
            own: VecDeque::new(),
            spare: Vec::new(),
            honest: Honest::default(),
            plan: Vec::new(),
            lie: Vec::new(),
            unheeded: Vec::new(),
            out: Writer::new(),
            heard: Vec::new(),
        }
    }

    fn lies(&self, voice: Voice) -> bool {
        voice.client >= self.first
    }

    /// Whether there are liars here that must know what the honest say: the same answer on every rank.
    fn listens(&self, talk: &Talk) -> bool {
        self.attack.listens() && talk.voices.iter().any(|voice| self.lies(*voice))
    }

    /// Tells the liars, who listen on rank 0, what an honest voice gives.
    fn overhear(&mut self, talk: &mut Talk, voice: Voice, given: &[f32]) -> Result<()> {
        if talk.port.rank() == 0 {
            let mut own = self.spare.pop().unwrap_or_default();
            own.clear();
            own.extend_from_slice(given);
            self.own.push_back(own);
            return Ok(());
        }
        talk.frame.start(given.len(), &mut self.out);
        self.out.varint(voice.client);
        self.out.f32s(given);
        self.out.seal(0);
        talk.port.send(0, &Tag::across(Purpose::Control), self.out.bytes())
    }

    /// Makes the plan of this round on rank 0, in the order of voices.
    fn plot(&mut self, talk: &mut Talk, len: usize) -> Result<()> {
        self.honest.begin(len);
        let mut vector = std::mem::take(&mut self.lie);
        vector.resize(len, 0.0);
        for voice in talk.voices.iter().filter(|voice| voice.client < self.first) {
            if voice.rank == 0 {
                let own = self.own.pop_front();
                let own = own.ok_or_else(|| Error::request(format!("client {} has not spoken", voice.client)))?;
                self.honest.add(&own);
                self.spare.push(own);
                continue;
            }
            talk.port.receive(voice.rank, &Tag::across(Purpose::Control), &mut self.heard)?;
            let (mut body, _) = talk.frame.open(voice.rank, len, &self.heard)?;
            let client = body.varint()?;
            if client != voice.client {
                return Err(Error::mismatch(format!(
                    "rank {} sent the vector of client {client}, expected that of client {}: a message was repeated or \
                     lost on the way",
                    voice.rank, voice.client
                )));
            }
            body.f32s(&mut vector)?;
            body.done()?;
            self.honest.add(&vector);
        }
        self.lie = vector;
        self.attack.plan(&self.honest, talk.voices.len(), &mut self.plan);
        Ok(())
    }

    /// A liar speaks: `lie` holds what it would have said.
    fn speak(&mut self, talk: &mut Talk, voice: Voice) -> Result<()> {
        let stream = Stream::new(talk.seed, Use::Lie, voice.client, talk.frame.round);
        self.attack.lie(&self.plan, stream, &mut self.lie);
        self.unheeded.resize(self.lie.len(), 0.0);
        self.inner.begin(talk, voice, &self.lie, &mut self.unheeded)
    }
}

impl Exchange for Lying {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        let listens = self.listens(talk);
        if self.lies(voice) {
            refuse_unfinite(given)?;
            said.copy_from_slice(given);
            if listens {
                self.waiting.push(voice);
                return Ok(());
            }
            self.lie.clear();
            self.lie.extend_from_slice(given);
            return self.speak(talk, voice);
        }
        if !listens {
            return self.inner.begin(talk, voice, given, said);
        }
        refuse_unfinite(given)?;
        self.overhear(talk, voice, given)?;
        // Messages between two ranks are heard in order, and what liars must know comes first.
        let mut holding = Holding { port: &mut *talk.port, held: &mut self.held };
        let mut quiet =
            Talk { port: &mut holding, compressor: &mut *talk.compressor, aggregator: &mut *talk.aggregator, ..*talk };
        self.inner.begin(&mut quiet, voice, given, said)
    }

    fn finish(&mut self, talk: &mut Talk, said: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let rank = talk.port.rank();
        if self.listens(talk) {
            self.plan.clear();
            self.plan.resize(self.attack.plan_len(agreed.len()), 0.0);
            if rank == 0 {
                self.plot(talk, agreed.len())?;
            }
            broadcast(talk.port, &Purpose::Control, talk.frame, &mut self.plan)?;
            self.held.release(talk.port)?;
            for voice in std::mem::take(&mut self.waiting) {
                self.lie.resize(agreed.len(), 0.0);
                self.speak(talk, voice)?;
            }
        }
        let lied = talk.voices.iter().any(|voice| voice.rank == rank && self.lies(*voice));
        self.inner.finish(talk, if lied { &mut self.unheeded } else { said }, agreed)
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.inner.load(state, layout)
    }

    fn deal(&mut self, former: &Former, rank: usize) -> Result<State> {
        self.inner.deal(former, rank)
    }
}

#[cfg(test)]
mod tests;
