//! A worker's state: the choices, the model, and what the round needs between its moments.

use std::sync::Arc;

use super::premises::Premises;
use super::session::Parts;
use crate::aggregate::Aggregator;
use crate::base::{Layout, Purpose, Result, State, flat};
use crate::buffers::Buffers;
use crate::compress::Compressor;
use crate::exchange::{self, Average, Exchange, Frame, Talk};
use crate::fabric::{Clock, Port};
use crate::feedback::Feedback;
use crate::local::{Ground, Local, Meeting, Spent};
use crate::optim::{Chain, Optimizer, Transform};
use crate::payload::Payload;
use crate::schedule::{self, Facts, Schedule};
use crate::workload::{Batch, Draw, Start, Workload};

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Rounds done.
    pub rounds: u64,
    /// Local steps done.
    pub steps: u64,
    /// Local steps of this round.
    pub silence: u64,
    /// The rate of the round's first step.
    pub rate: f64,
    /// Mean mini-batch loss of this worker over the round.
    pub loss: f64,
    /// How many of the round's steps were shortened by clipping.
    pub clipped: u64,
    /// How many offers were shortened by clipping before they were sent (0 or 1).
    pub shortened: u64,
    /// ‖what the feedback remembers‖.
    pub residual_norm: Option<f64>,
    /// What rank 0 decided for everybody.
    pub flags: u8,
}

/// Where a worker's time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// In local steps.
    pub compute: f64,
    /// Processor time in local steps.
    pub cpu: f64,
    /// In sharing and from `close` to the end of the round, waiting included.
    pub close: f64,
}

/// One worker of a run.
pub struct Worker {
    pub(super) optimizer: Optimizer,
    pub(super) payload: Payload,
    pub(super) feedback: Box<dyn Feedback>,
    pub(super) outer: Chain,
    pub(super) layout: Layout,
    pub(super) clock: Arc<dyn Clock>,
    local: Box<dyn Local>,
    meeting: Meeting,
    batch: Batch,
    schedule: Box<dyn Schedule>,
    compressor: Box<dyn Compressor>,
    aggregator: Box<dyn Aggregator>,
    exchange: Box<dyn Exchange>,
    buffer_rule: Buffers,
    seed: u64,
    client: u64,
    total: Option<u64>,
    premises: Premises,
    compared: bool,
    pub(super) average: Average,
    weights: Vec<f32>,
    rows: f32,
    // What the run is at.
    pub(super) model: Vec<f32>,
    pub(super) round: u64,
    pub(super) step: u64,
    buffers: Vec<f32>,
    previous_rate: Option<f64>,
    times: Times,
    // What lives within a round.
    pub(super) silence: u64,
    pub(super) point: Vec<f32>,
    pub(super) offer: Vec<f32>,
    pub(super) said: Vec<f32>,
    pub(super) agreed: Vec<f32>,
    pub(super) update: Vec<f32>,
    spent: Spent,
}

impl Worker {
    /// A worker at the start of a run of `total` steps (if that is known), with `rows` training rows of its own.
    pub fn new(
        parts: Parts,
        layout: Layout,
        start: Start,
        seed: u64,
        client: u64,
        total: Option<u64>,
        rows: usize,
    ) -> Self {
        let zeros = vec![0.0; layout.len()];
        let mut optimizer = parts.optimizer;
        optimizer.anneal.over(total);
        Self {
            optimizer,
            payload: parts.payload,
            feedback: parts.feedback,
            outer: parts.outer,
            clock: parts.clock,
            local: parts.local,
            meeting: parts.meeting,
            batch: parts.batch,
            schedule: parts.schedule,
            compressor: parts.compressor,
            aggregator: parts.aggregator,
            exchange: parts.exchange,
            buffer_rule: parts.buffers,
            seed,
            client,
            total,
            premises: Premises::new(parts.fingerprint, seed, total, &layout),
            compared: false,
            average: Average::default(),
            weights: Vec::new(),
            rows: rows as f32,
            round: 0,
            step: 0,
            buffers: start.buffers,
            previous_rate: None,
            times: Times::default(),
            silence: 1,
            point: start.parameters.clone(),
            model: start.parameters,
            offer: zeros.clone(),
            said: zeros.clone(),
            agreed: zeros.clone(),
            update: zeros,
            layout,
            spent: Spent::default(),
        }
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

    /// What this worker was understood to have said at the last meeting.
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

    pub(super) fn frame(&self, flags: u8) -> Frame {
        Frame { round: self.round, silence: self.silence, flags }
    }

    /// Before the first round, or the first after a checkpoint: do all ranks mean the same run?
    pub(super) fn compare(&mut self, port: &mut dyn Port) -> Result<()> {
        if !self.compared {
            self.premises.compare(port, self.round)?;
            self.compared = true;
        }
        Ok(())
    }

    pub(super) fn decide_silence(&mut self) {
        let anneal = &self.optimizer.anneal;
        self.silence = schedule::clamped(
            &*self.schedule,
            &Facts {
                round: self.round,
                step: self.step,
                rate: anneal.rate(self.step),
                previous_rate: self.previous_rate,
                steps: self.total,
                warming: self.step < anneal.warmup(),
            },
        );
    }

    /// The silent steps, on our own optimizer.
    pub(super) fn spend(&mut self, workload: &mut dyn Workload, steps: u64) -> Result<()> {
        let (began, cpu) = (self.clock.now(), self.clock.cpu());
        let mut ground = Ground {
            workload,
            optimizer: &mut self.optimizer,
            seed: self.seed,
            client: self.client,
            step: self.step,
            layout: &self.layout,
        };
        self.spent = self.local.spend(&mut ground, &mut self.point, &mut self.buffers, &mut self.offer, steps)?;
        self.times.compute += self.clock.now() - began;
        self.times.cpu += self.clock.cpu() - cpu;
        Ok(())
    }

    /// The exchange of the offer: fills `said` and `agreed`, returns rank 0's flags.
    pub(super) fn exchange(&mut self, port: &mut dyn Port, flags: u8) -> Result<u8> {
        let frame = self.frame(flags);
        if self.aggregator.weighs() && self.weights.len() != port.size() {
            self.weights = exchange::everybodys(port, &Purpose::Aside("weight".into()), frame, self.rows)?;
        }
        let mut talk = Talk {
            port,
            compressor: &mut *self.compressor,
            aggregator: &mut *self.aggregator,
            layout: &self.layout,
            seed: self.seed,
            frame,
            weights: &self.weights,
        };
        self.exchange.begin(&mut talk, &self.offer, &mut self.said)?;
        self.exchange.finish(&mut talk, &mut self.agreed)
    }

    /// What a meeting does to buffers and optimizer state.
    pub(super) fn meet(&mut self, port: &mut dyn Port) -> Result<()> {
        let frame = self.frame(0);
        if !self.buffers.is_empty() {
            match self.buffer_rule {
                Buffers::Average => self.average.of(port, &Purpose::Buffers, frame, &mut self.buffers)?,
                Buffers::Root => exchange::broadcast(port, &Purpose::Buffers, frame, &mut self.buffers)?,
                Buffers::Local | Buffers::Reestimate(_) => {}
            }
        }
        match self.meeting {
            Meeting::Keep => {}
            Meeting::Reset => self.optimizer.chain.reset(),
            Meeting::Average => {
                for moment in self.optimizer.chain.moments() {
                    let purpose = Purpose::Aside("moments".into());
                    self.average.by(&mut *self.aggregator, &self.weights, port, &purpose, frame, moment)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the round.
    pub(super) fn advance(&mut self, flags: u8, rate: f64, began: f64) -> Told {
        self.previous_rate = Some(rate);
        self.round += 1;
        self.step += self.silence;
        self.talked_since(began);
        let spent = std::mem::take(&mut self.spent);
        let clipped = spent.clipped + self.optimizer.chain.clipped_steps();
        Told {
            rounds: self.round,
            steps: self.step,
            silence: self.silence,
            rate,
            loss: spent.loss,
            clipped,
            shortened: self.compressor.shortened(),
            residual_norm: self.feedback.norm(),
            flags,
        }
    }

    /// The model and the buffers that an evaluation uses: a collective call, counted as `evaluate`.
    pub fn evaluated(&mut self, port: &mut dyn Port, workload: &mut dyn Workload) -> Result<Start> {
        let frame = self.frame(0);
        let mut parameters = self.model.clone();
        if self.feedback.evaluates_ahead() {
            let mut owed = self.feedback.owed().map_or_else(|| vec![0.0; parameters.len()], <[f32]>::to_vec);
            self.average.of(port, &Purpose::Evaluate, frame, &mut owed)?;
            flat::subtract(&mut parameters, &owed);
        }
        let mut buffers = self.buffers.clone();
        if !buffers.is_empty() {
            if let Buffers::Reestimate(batches) = self.buffer_rule {
                self.reestimate(&parameters, &mut buffers, batches, workload)?;
            }
            if matches!(self.buffer_rule, Buffers::Local | Buffers::Reestimate(_)) {
                self.average.of(port, &Purpose::Evaluate, frame, &mut buffers)?;
            }
        }
        Ok(Start { parameters, buffers })
    }

    /// Averages what `batches` batches say of the buffers at `parameters`, nothing of the old ones left.
    ///
    /// A running statistic moves as b ← ρb + (1 − ρ)s. From b = 0 a batch leaves (1 − ρ)s; from b = 1 it leaves ρ more.
    fn reestimate(
        &self,
        parameters: &[f32],
        buffers: &mut [f32],
        batches: u64,
        workload: &mut dyn Workload,
    ) -> Result<()> {
        let mut unused = vec![0.0; parameters.len()];
        // Steps far beyond any run, so that no training batch is looked at twice for it.
        let draw = |i| Draw { seed: self.seed, client: self.client, step: (1 << 40) + i, batch: self.batch };
        let mut sum = vec![0.0; buffers.len()];
        let mut ones = vec![1.0; buffers.len()];
        workload.gradient(parameters, &mut ones, &draw(0), &mut unused)?;
        let mut first = Vec::new();
        for i in 0..batches {
            let mut zeros = vec![0.0; buffers.len()];
            workload.gradient(parameters, &mut zeros, &draw(i), &mut unused)?;
            flat::add(&mut sum, &zeros);
            if i == 0 {
                first = zeros;
            }
        }
        for (((b, s), one), zero) in buffers.iter_mut().zip(&sum).zip(&ones).zip(&first) {
            let moves = 1.0 - (one - zero);
            // What does not move is no statistic (a constant, a counter) and stays.
            if moves > 1e-6 {
                *b = s / batches as f32 / moves;
            }
        }
        Ok(())
    }

    /// Everything this worker remembers.
    pub fn save(&self) -> State {
        let mut state = State::default();
        state.put("model", &self.model);
        state.put("buffers", &self.buffers);
        if !self.weights.is_empty() {
            state.put("weights", &self.weights);
        }
        state.put("weights", &self.weights);
        let rate = self.previous_rate.map_or(f64::NAN, |r| r);
        state.put_numbers("position", &[self.round, self.step, rate.to_bits()]);
        state.put_numbers("times", &[self.times.compute, self.times.cpu, self.times.close].map(f64::to_bits));
        let part = |save: &dyn Fn(&mut State)| {
            let mut inner = State::default();
            save(&mut inner);
            inner
        };
        state.put_all("optim", part(&|s| self.optimizer.chain.save(s)));
        state.put_all("outer", part(&|s| self.outer.save(s)));
        state.put_all("feedback", part(&|s| self.feedback.save(s)));
        state.put_all("exchange", part(&|s| self.exchange.save(s)));
        state
    }

    /// Takes back what [`Worker::save`] gave; what follows is what would have followed.
    pub fn load(&mut self, state: &State) -> Result<()> {
        state.take("model", &mut self.model)?;
        state.take("buffers", &mut self.buffers)?;
        // Told once a run; of another number of ranks they are asked for anew.
        self.weights = state.vectors.get("weights").cloned().unwrap_or_default();
        self.weights = state.vectors.get("weights").cloned().unwrap_or_default();
        let [round, step, rate] = state.take_numbers("position")?;
        (self.round, self.step) = (round, step);
        self.compared = false;
        self.previous_rate = Some(f64::from_bits(rate)).filter(|r| !r.is_nan());
        let [compute, cpu, close] = state.take_numbers("times")?.map(f64::from_bits);
        self.times = Times { compute, cpu, close };
        self.optimizer.chain.load(&state.part("optim"), &self.layout)?;
        self.outer.load(&state.part("outer"), &self.layout)?;
        self.feedback.load(&state.part("feedback"), &self.layout)?;
        self.exchange.load(&state.part("exchange"), &self.layout)
    }
}
