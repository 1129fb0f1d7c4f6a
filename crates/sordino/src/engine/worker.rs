//! A worker's state: the choices, the model, and what the round needs between its moments.

use std::sync::Arc;

use super::ahead::Ahead;
use super::beside::{Beside, Table};
use super::caller::Caller;
use super::fragments::Fragments;
use super::guard::Guard;
use super::premises::Premises;
use super::seats::{Guests, Seats, epoch_of};
use super::session::Parts;
use super::store::{Memory, Store};
use super::told::{Times, Told};
use crate::aggregate::Aggregator;
use crate::base::{Aside, Error, Layout, Purpose, Result};
use crate::buffers::Buffers;
use crate::compress::Compressor;
use crate::exchange::{self, Exchange, Frame, Lying, Means, Voice};
use crate::fabric::{Clock, Port};
use crate::feedback::Feedback;
use crate::local::{Local, Meeting, Spent};
use crate::optim::{Optimizer, Transform};
use crate::participation::Participation;
use crate::payload::Payload;
use crate::schedule::{self, Facts, Schedule};
use crate::workload::{Batch, Start, Workload};

/// One worker of a run: a rank that speaks for itself, or for the federated clients it plays.
pub struct Worker {
    pub(super) optimizer: Optimizer,
    pub(super) payload: Payload,
    pub(super) feedback: Box<dyn Feedback>,
    pub(super) fragments: Fragments,
    pub(super) layout: Layout,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) local: Box<dyn Local>,
    meeting: Meeting,
    pub(super) guard: Option<Guard>,
    pub(super) batch: Batch,
    pub(super) schedule: Box<dyn Schedule>,
    pub(super) participation: Box<dyn Participation>,
    pub(super) compressor: Box<dyn Compressor>,
    pub(super) aggregator: Box<dyn Aggregator>,
    pub(super) exchange: Box<dyn Exchange>,
    /// The code of differences from a server that serves whoever comes.
    pub(super) down: Option<Box<dyn Compressor>>,
    pub(super) beside: Beside,
    pub(super) buffer_rule: Buffers,
    pub(super) seed: u64,
    pub(super) rank: usize,
    total: Option<u64>,
    premises: Premises,
    pub(super) compared: bool,
    pub(super) average: Means,
    /// Rows of every client.
    pub(super) rows: Vec<f32>,
    /// How many of them lie.
    liars: usize,
    /// Lists that travel beside every offer, as zeros.
    pub(super) asides: Vec<Aside>,
    // What the run is at.
    pub(super) model: Vec<f32>,
    pub(super) round: u64,
    pub(super) step: u64,
    /// The number of the next draw: the worker's own steps so far.
    pub(super) draws: u64,
    pub(super) buffers: Vec<f32>,
    pub(super) previous_rate: Option<f64>,
    /// The caller, where it makes its own steps.
    pub(super) caller: Option<Caller>,
    pub(super) times: Times,
    pub(super) clients: Box<dyn Store>,
    /// Rows of every rank as they were told, where the aggregator weighs ranks.
    pub(super) weights: Vec<f32>,
    // What lives within a round.
    pub(super) seats: Seats,
    pub(super) silence: u64,
    pub(super) voice: Voice,
    pub(super) point: Vec<f32>,
    pub(super) offer: Vec<f32>,
    pub(super) said: Vec<f32>,
    pub(super) agreed: Vec<f32>,
    pub(super) update: Vec<f32>,
    /// What was agreed beside the update.
    pub(super) heard: Vec<Aside>,
    /// Buffers as they were agreed on, while clients change them.
    pub(super) common: Vec<f32>,
    pub(super) spent: Spent,
    pub(super) ahead: Ahead,
    pub(super) tally: Tally,
}

/// What the voices of a rank add up to in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub spoke: u64,
    pub loss: f64,
    pub clipped: u64,
    pub clipped_rows: u64,
    pub residual_norm: Option<f64>,
}

impl Worker {
    /// The worker of `rank` among `ranks`, at the start of a run of `total` steps (if that is known) on `workload`.
    pub fn new(
        parts: Parts,
        workload: &dyn Workload,
        seed: u64,
        rank: usize,
        ranks: usize,
        total: Option<u64>,
    ) -> Self {
        let (layout, start) = (workload.layout().clone(), workload.start(seed));
        let zeros = vec![0.0; layout.len()];
        let mut optimizer = parts.optimizer;
        optimizer.anneal.over(total);
        let clients = parts.participation.clients(ranks) as u64;
        let liars = parts.attack.as_ref().map_or(0, |(_, liars)| *liars);
        let rows: Vec<f32> = (0..clients).map(|client| workload.rows(client) as f32).collect();
        let fewest = rows.iter().copied().fold(f32::INFINITY, f32::min);
        // A full batch divides by its own rows: a message of the client with the fewest moves most with one of them.
        let (lot, drawn) = match parts.batch.rows() {
            None => (f64::from(fewest), 1.0),
            Some(batch) => {
                let batch = (batch as f64).min(f64::from(fewest));
                (batch, batch / f64::from(fewest))
            }
        };
        let asked = parts.participation.poisson(ranks).unwrap_or(1.0);
        let (expected, mut feedback) = (parts.participation.expected(ranks), parts.feedback);
        feedback.pace(parts.local.ahead(parts.aggregator.gain(expected, expected)));
        Self {
            guard: parts.privacy.map(|mechanism| Guard::new(mechanism, asked, drawn, lot)),
            optimizer,
            payload: parts.payload,
            feedback,
            fragments: Fragments::new(&layout, parts.outer),
            clock: parts.clock,
            asides: parts.local.asides(workload),
            local: parts.local,
            meeting: parts.meeting,
            batch: parts.batch,
            schedule: parts.schedule,
            participation: parts.participation,
            compressor: parts.compressor,
            aggregator: parts.aggregator,
            exchange: match parts.attack {
                Some((attack, liars)) => Box::new(Lying::new(parts.exchange, attack, clients as usize, liars)),
                None => parts.exchange,
            },
            down: parts.down,
            beside: Beside::new(parts.lanes),
            buffer_rule: parts.buffers,
            seed,
            rank,
            total,
            premises: Premises::new(parts.fingerprint, seed, total, &layout),
            compared: false,
            average: Means::new(parts.topology),
            rows,
            liars,
            round: 0,
            step: 0,
            draws: 0,
            common: start.buffers.clone(),
            buffers: start.buffers,
            previous_rate: None,
            caller: None,
            times: Times::default(),
            clients: Box::new(Memory::default()),
            weights: Vec::new(),
            seats: Seats::everyone(ranks),
            silence: 1,
            voice: Voice { client: rank as u64, rank },
            point: start.parameters.clone(),
            model: start.parameters,
            offer: zeros.clone(),
            said: zeros.clone(),
            agreed: zeros.clone(),
            update: zeros,
            heard: Vec::new(),
            layout,
            spent: Spent::default(),
            ahead: Ahead::new(parts.staleness.delay()),
            tally: Tally::default(),
        }
    }

    /// Begins from another model than the workload's: a trained one, the same on every rank.
    pub fn begin_from(&mut self, start: &Start) -> Result<()> {
        self.layout.expect("the model to start from", &start.parameters)?;
        if start.buffers.len() != self.buffers.len() {
            return Err(Error::mismatch(format!(
                "the model to start from has {} buffer entries, but this one has {}: both must be the same model",
                start.buffers.len(),
                self.buffers.len()
            )));
        }
        for model in [&mut self.model, &mut self.point] {
            model.copy_from_slice(&start.parameters);
        }
        for buffers in [&mut self.buffers, &mut self.common] {
            buffers.copy_from_slice(&start.buffers);
        }
        Ok(())
    }

    /// Keeps what clients remember in `store` instead of in memory.
    pub fn keep_clients_in(&mut self, store: Box<dyn Store>) {
        self.clients = store;
    }

    /// Takes the entropy of the noise that hides contributions; a `privacy.seed` goes before it.
    pub fn hide_with(&mut self, key: [u8; 32]) {
        if let Some(guard) = &mut self.guard {
            guard.key(key);
        }
    }

    /// Whether the budget of privacy is spent.
    pub fn spent_up(&mut self) -> bool {
        let round = self.round;
        // What is wrong with the budget is told when a round opens.
        self.guard.as_mut().is_some_and(|guard| guard.exhausted(round).unwrap_or(false))
    }

    /// What has been spent of privacy so far.
    pub fn epsilon(&self) -> Option<f64> {
        self.guard.as_ref().map(Guard::epsilon)
    }

    /// How many clients there are: the ranks themselves where everybody takes part.
    pub fn clients(&self) -> usize {
        self.rows.len()
    }

    /// This rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The lanes beside the payload, with the lengths of their vectors.
    pub(super) fn lanes(&self) -> Vec<(Purpose, usize)> {
        let lane = |aside: &Aside| (Purpose::Aside(aside.name.into()), aside.values.len());
        let buffers = (self.federated() && !self.buffers.is_empty()).then_some((Purpose::Buffers, self.buffers.len()));
        self.asides.iter().map(lane).chain(buffers).collect()
    }

    /// Whether voices are federated clients.
    pub fn federated(&self) -> bool {
        self.participation.federated()
    }

    /// How many speak in a round, on average.
    pub fn expected(&self) -> f64 {
        self.participation.expected(self.seats.voices.len())
    }

    /// The agreed model.
    pub fn model(&self) -> &[f32] {
        &self.model
    }

    /// Where the silent steps of this round begin (after `open`), or have led (after them).
    pub fn point(&mut self) -> &mut [f32] {
        &mut self.point
    }

    /// What will be offered at the next meeting, for a caller that makes its own steps.
    pub fn offer(&mut self) -> &mut [f32] {
        &mut self.offer
    }

    /// What this worker was understood to have said at the last meeting; not kept where its offer was overwritten.
    pub fn said(&self) -> &[f32] {
        &self.said
    }

    /// This worker's buffers.
    pub fn buffers(&self) -> &[f32] {
        &self.buffers
    }

    /// Rounds and local steps done.
    pub fn position(&self) -> (u64, u64) {
        (self.round, self.step)
    }

    /// The run's number of steps, where known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Where the time went.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Counts what talking since `began` took.
    pub(super) fn talked_since(&mut self, began: f64) {
        self.times.close += self.clock.now() - began;
    }

    /// The unit in which this worker offers.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// Takes in what is on its way to this rank, so that other words can be heard.
    pub(super) fn quiet(&mut self) -> Result<()> {
        self.local.quiet()
    }

    pub(super) fn frame(&self, flags: u8) -> Frame {
        Frame { round: self.round, silence: self.silence, flags }
    }

    /// Before the first round, or the first after a checkpoint: do all ranks mean the same run?
    pub(super) fn compare(&mut self, port: &mut dyn Port) -> Result<()> {
        if !self.compared {
            // Who is served whenever it comes is at a piece of work of its own.
            let round = if self.participation.served().is_some() { 0 } else { self.round };
            self.premises.compare(port, round)?;
            self.fragments.all_there()?;
            if self.liars >= self.rows.len() {
                return Err(Error::request(format!(
                    "`fabric.liars` is {}, but there are {} who speak: somebody must be honest; lower fabric.liars",
                    self.liars,
                    self.rows.len()
                )));
            }
            if let Some(guard) = &mut self.guard {
                guard.exhausted(self.round)?;
                if !self.buffers.is_empty() && self.buffer_rule != Buffers::Local {
                    // Federated clients keep no buffers of their own.
                    let cure = if self.participation.federated() { "" } else { "set buffers=local, or " };
                    return Err(Error::request(format!(
                        "`privacy` with a model that has running statistics: these travel and nothing hides them; {cure}use \
                         a model without batch normalisation"
                    )));
                }
            }
            self.compared = true;
        }
        Ok(())
    }

    /// The rate of the round's first step.
    pub(super) fn rate(&self) -> f64 {
        self.caller.map_or_else(|| self.optimizer.anneal.rate(self.step), |caller| caller.rate)
    }

    /// Local steps of one pass over the rows of a client, on average.
    pub(super) fn epoch(&self) -> f64 {
        epoch_of(&self.rows, self.batch)
    }

    /// How many silent steps follow; nothing has been said of them.
    pub(super) fn begin_silence(&mut self) {
        self.begin_silence_at(self.rate(), self.step < self.optimizer.anneal.warmup());
    }

    /// How many silent steps follow at this rate.
    pub(super) fn begin_silence_at(&mut self, rate: f64, warming: bool) {
        let facts = self.facts(self.round, self.step, rate, self.previous_rate, warming);
        self.silence = schedule::clamped(&*self.schedule, &facts);
        self.tally = Tally::default();
    }

    /// What a schedule goes by in a round that begins with a step at this rate.
    pub(super) fn facts(&self, round: u64, step: u64, rate: f64, previous_rate: Option<f64>, warming: bool) -> Facts {
        Facts { round, step, rate, previous_rate, steps: self.total, warming, epoch: self.epoch() }
    }

    /// Lays the table: how many silent steps there will be, and who speaks after them.
    pub(super) fn decide(&mut self, port: &mut dyn Port) -> Result<()> {
        if self.caller.is_some() {
            self.silence = 0;
        } else {
            self.begin_silence();
        }
        if !self.participation.federated() {
            if self.aggregator.weighs() && self.weights.len() != port.size() {
                let (frame, mine) = (self.frame(0), self.rows[self.rank]);
                self.weights = exchange::everybodys(port, &Purpose::Aside("weight".into()), frame, mine)?;
            }
            self.seats.weights.clone_from(&self.weights);
            return Ok(());
        }
        let remembering = self.remembers();
        self.seats = Seats::sampled(&Guests {
            participation: &*self.participation,
            clock: &*self.clock,
            schedule: &*self.schedule,
            compressor: &*self.compressor,
            layout: &self.layout,
            rows: &self.rows,
            batch: self.batch,
            seed: self.seed,
            round: self.round,
            silence: self.silence,
            ranks: port.size(),
            remembering,
            hides_absence: self.guard.as_ref().is_some_and(Guard::hides_absence),
            beside: 4 * self.lanes().iter().map(|(_, len)| *len as u64).sum::<u64>(),
        });
        if !self.aggregator.weighs() {
            self.seats.weights.clear();
        }
        let (frame, asked) = (self.frame(0), self.seats.asked);
        exchange::invite(port, &Purpose::Payload, frame, &self.model, asked);
        for (name, list) in self.local.told() {
            exchange::invite(port, &Purpose::Aside(name.into()), frame, list, asked);
        }
        if !self.common.is_empty() {
            exchange::invite(port, &Purpose::Buffers, frame, &self.common, asked);
        }
        Ok(())
    }

    /// Whether clients remember anything from one round to another.
    fn remembers(&mut self) -> bool {
        self.keeps_optimizer() || !self.feedback.own().is_empty() || !self.local.own().is_empty()
    }

    /// Whether a client's optimizer goes on where it was when the client was asked last.
    pub(super) fn keeps_optimizer(&self) -> bool {
        self.meeting == Meeting::Keep && self.payload != Payload::Gradient
    }

    /// What a meeting does to buffers and optimizer state of ranks that all take part.
    pub(super) fn meet(&mut self, port: &mut dyn Port) -> Result<()> {
        let frame = self.frame(0);
        if !self.buffers.is_empty() && !self.seats.clients {
            match self.buffer_rule {
                Buffers::Average => self.average.of(port, &Purpose::Buffers, frame, &mut self.buffers)?,
                Buffers::Root => {
                    exchange::broadcast(port, &Purpose::Buffers, frame, &mut self.buffers)?;
                }
                Buffers::Local | Buffers::Reestimate(_) => {}
            }
        }
        match self.meeting {
            _ if self.caller.is_some() => {}
            Meeting::Keep => {}
            Meeting::Reset => self.optimizer.chain.reset(),
            Meeting::Average => {
                let purpose = Purpose::Aside("moments".into());
                let (seats, voice, seed) = (&self.seats, self.voice, self.seed);
                for moment in self.optimizer.chain.moments() {
                    self.beside.say(&purpose, voice, moment)?;
                    let mut table = Table { port: &mut *port, frame, seed, seats };
                    let len = moment.len();
                    moment.copy_from_slice(self.beside.agree(&mut table, &purpose, len)?);
                }
            }
        }
        Ok(())
    }

    /// Whether it plays clients that a server draws, for one piece of work each.
    fn plays(&self) -> bool {
        self.participation.served().is_some_and(|served| served.clients > 0)
    }

    /// Whether the server that serves whoever comes sends everybody's mean of buffers along.
    pub(super) fn shares_buffers(&self) -> bool {
        !self.buffers.is_empty() && self.buffer_rule == Buffers::Average
    }

    /// What the end of a piece of work does to optimizer state. Clients that are played remember nothing.
    pub(super) fn end_work(&mut self) {
        if self.payload != Payload::Gradient && (self.meeting == Meeting::Reset || self.plays()) {
            self.optimizer.chain.reset();
        }
    }

    /// What a piece of work found.
    pub(super) fn told_of_work(&mut self) -> Told {
        self.count();
        let rate = self.optimizer.anneal.rate(self.step);
        self.previous_rate = Some(rate);
        self.tell(0, rate)
    }

    /// Ends the round.
    pub(super) fn advance(&mut self, flags: u8, rate: f64, began: f64) -> Result<Told> {
        if let Some(guard) = &mut self.guard {
            guard.spend()?;
        }
        self.previous_rate = Some(rate);
        self.round += 1;
        self.step += self.silence;
        self.draws += self.silence;
        if self.total.is_some_and(|total| self.step >= total) {
            // Nobody leaves while something is on its way to it.
            self.local.quiet()?;
        }
        self.clock.advance(self.seats.seconds);
        self.times.waited += self.seats.seconds;
        self.talked_since(began);
        Ok(self.tell(flags, rate))
    }

    /// What has been found since silence began.
    pub(super) fn tell(&mut self, flags: u8, rate: f64) -> Told {
        let shortened = self.guard.as_mut().map_or(0, |guard| std::mem::take(&mut guard.shortened));
        let tally = std::mem::take(&mut self.tally);
        Told {
            rounds: self.round,
            steps: self.step + self.ahead.made(),
            silence: self.silence,
            rate,
            loss: if tally.spoke == 0 { f64::NAN } else { tally.loss / tally.spoke as f64 },
            clipped: tally.clipped + self.optimizer.chain.clipped_steps(),
            clipped_rows: tally.clipped_rows,
            shortened: shortened + self.compressor.shortened(),
            epsilon: self.epsilon(),
            spoke: tally.spoke,
            voices: self.seats.voices.len() as u64,
            residual_norm: tally.residual_norm,
            flags,
        }
    }

    /// Counts what the voice that has the floor found.
    pub(super) fn count(&mut self) {
        self.tally.spoke += 1;
        self.tally.loss += self.spent.loss;
        self.tally.clipped += self.spent.clipped;
        self.tally.clipped_rows += self.spent.clipped_rows;
    }
}
