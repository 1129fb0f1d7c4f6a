//! One block of a cut network: what it does in an iteration.

use std::collections::VecDeque;
use std::ops::Range;

use super::link::{self, Links, Token, Way};
use crate::base::{Error, Result, State, flat};
use crate::fabric::Clock;
use crate::placement::{Cost, Pipeline};
use crate::workload::{Back, Batch, Draw, Flow, Piece, Stage};

/// Which batches this copy of the network sees.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The run's seed.
    pub seed: u64,
    /// Whose rows.
    pub client: u64,
    /// How many.
    pub batch: Batch,
}

impl Source {
    fn piece(&self, id: u64, part: usize, of: usize) -> Piece {
        Piece { draw: Draw { seed: self.seed, client: self.client, step: id, batch: self.batch }, part, of }
    }
}

/// A batch that has gone forward and has not come back.
struct Waiting {
    id: u64,
    input: Flow,
    /// The weights it went forward with, where the pass is kept.
    weights: Vec<f32>,
}

/// Where and when an iteration happens.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The iteration, from 0.
    pub now: u64,
    /// The weights of this worker, or of a block of it.
    pub point: &'a [f32],
    /// Who works.
    pub rank: usize,
    /// What it is timed by.
    pub clock: &'a dyn Clock,
}

/// One block of a copy of the network.
pub struct Block {
    index: usize,
    blocks: usize,
    pipeline: Pipeline,
    source: Source,
    share: Cost,
    stage: Box<dyn Stage>,
    /// Where its tensors lie in the worker's vector, and whether an earlier block of the worker uses them too.
    slots: Vec<(Range<usize>, bool)>,
    /// Where all of them lie in one piece, if they do and no earlier block uses them: such a block works in place.
    place: Option<Range<usize>>,
    len: usize,
    waiting: VecDeque<Waiting>,
    /// Room for weights that wait.
    spare: Vec<Vec<f32>>,
    own: Vec<f32>,
    gradient: Vec<f32>,
    part: Vec<f32>,
    rows: Vec<usize>,
}

impl Block {
    /// Block `index` of `blocks`.
    pub fn new(
        (index, blocks): (usize, usize),
        pipeline: &Pipeline,
        source: Source,
        share: Cost,
        stage: Box<dyn Stage>,
        slots: Vec<(Range<usize>, bool)>,
    ) -> Self {
        let whole = slots.windows(2).all(|pair| pair[0].0.end == pair[1].0.start) && slots.iter().all(|slot| !slot.1);
        let ends = slots.first().zip(slots.last()).filter(|_| whole);
        Self {
            place: ends.map(|(first, last)| first.0.start..last.0.end),
            len: slots.iter().map(|(range, _)| range.len()).sum(),
            index,
            blocks,
            pipeline: pipeline.clone(),
            source,
            share,
            stage,
            slots,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            own: Vec::new(),
            gradient: Vec::new(),
            part: Vec::new(),
            rows: vec![0; pipeline.micro],
        }
    }

    fn is_last(&self) -> bool {
        self.index + 1 == self.blocks
    }

    /// The batch that this block passes forward in an iteration, if one has come so far.
    fn goes(&self, now: u64) -> Option<u64> {
        now.checked_sub((self.pipeline.waiting().0 * self.index) as u64)
    }

    /// The batch whose error it hears in an iteration.
    fn returns(&self, now: u64) -> Option<u64> {
        let stale = self.pipeline.staleness(self.index, self.blocks) as u64;
        self.goes(now)?.checked_sub(stale)
    }

    /// One iteration: pop forward, push forward, pop back, push back. Gives the loss of the batch that came back, if
    /// one did, and puts its gradient, or 0, into the worker's: what several blocks use gets the sum.
    pub fn turn(&mut self, at: &Moment, links: &mut Links, into: &mut [f32]) -> Result<Option<f64>> {
        if let Some(place) = self.place.clone() {
            let gradient = &mut into[place.clone()];
            let found = self.iterate(&Moment { point: &at.point[place], ..*at }, links, gradient)?;
            if found.is_none() {
                gradient.fill(0.0);
            }
            return Ok(found);
        }
        let (mut own, mut gradient) = (std::mem::take(&mut self.own), std::mem::take(&mut self.gradient));
        own.clear();
        for (range, _) in &self.slots {
            own.extend_from_slice(&at.point[range.clone()]);
        }
        gradient.resize(self.len, 0.0);
        let found = self.iterate(&Moment { point: &own, ..*at }, links, &mut gradient)?;
        self.scatter(found.is_some(), &gradient, into);
        (self.own, self.gradient) = (own, gradient);
        Ok(found)
    }

    /// One iteration with the weights of this block alone, which leaves the gradient of what came back, if anything did.
    fn iterate(&mut self, at: &Moment, links: &mut Links, gradient: &mut [f32]) -> Result<Option<f64>> {
        if self.goes(at.now).is_some() {
            self.stage.load(at.point)?;
        }
        for part in 0..self.pipeline.micro {
            self.forward(at, links, part)?;
        }
        if self.pipeline.micro == 1 {
            return self.back(at, links, 0, gradient);
        }
        let rows = self.rows.iter().sum::<usize>().max(1) as f64;
        let (mut found, mut own) = (None, std::mem::take(&mut self.part));
        own.resize(self.len, 0.0);
        for part in 0..self.pipeline.micro {
            let Some(loss) = self.back(at, links, part, &mut own)? else { continue };
            let share = self.rows[part] as f64 / rows;
            if found.is_none() {
                gradient.fill(0.0);
            }
            flat::add_scaled(gradient, share as f32, &own);
            found = Some(found.unwrap_or(0.0) + share * loss);
        }
        self.part = own;
        Ok(found)
    }

    /// Work of this share of an iteration that began then is done.
    fn labour(&self, at: &Moment, share: f64, began: f64) {
        let (share, seconds) = (share / self.pipeline.micro as f64, at.clock.now() - began);
        at.clock.laboured(at.rank as u64, at.now, share, seconds);
    }

    fn forward(&mut self, at: &Moment, links: &mut Links, part: usize) -> Result<()> {
        let expected = self.goes(at.now);
        let input = if self.index == 0 {
            expected.map(|_| Flow::default())
        } else {
            links.pop(Way::Forward, self.index, expected, part)?.map(|token| token.flow)
        };
        let mut told = None;
        if let (Some(id), Some(input)) = (expected, input) {
            let recomputes = self.pipeline.recomputes(self.index, self.blocks);
            let piece = self.source.piece(id, part, self.pipeline.micro);
            let began = at.clock.now();
            let flow = self.stage.forward(&piece, &input, !recomputes)?;
            self.labour(at, self.share.forward, began);
            self.rows[part] = flow.rows;
            if self.pipeline.staleness(self.index, self.blocks) > 0 {
                let mut weights = self.spare.pop().unwrap_or_default();
                weights.clear();
                if !recomputes {
                    weights.extend_from_slice(at.point);
                }
                self.waiting.push_back(Waiting { id, input, weights });
            }
            told = Some(Token { id, part, flow, loss: 0.0 });
        }
        if self.is_last() { Ok(()) } else { links.push(Way::Forward, self.index + 1, told) }
    }

    fn back(&mut self, at: &Moment, links: &mut Links, part: usize, gradient: &mut [f32]) -> Result<Option<f64>> {
        let expected = self.returns(at.now);
        let error = if self.is_last() {
            expected.map(|id| Token { id, part, flow: Flow::default(), loss: 0.0 })
        } else {
            links.pop(Way::Back, self.index, expected, part)?
        };
        let Some(Token { id, flow, loss, .. }) = error else {
            if self.index > 0 {
                links.push(Way::Back, self.index - 1, None)?;
            }
            return Ok(None);
        };
        let piece = self.source.piece(id, part, self.pipeline.micro);
        if self.pipeline.staleness(self.index, self.blocks) > 0 {
            let waited = self.waiting.pop_front().filter(|w| w.id == id).ok_or_else(|| {
                Error::mismatch(format!("block {} heard the error of batch {id}, which it has not passed", self.index))
            })?;
            if self.pipeline.recomputes(self.index, self.blocks) {
                let began = at.clock.now();
                self.stage.forward(&piece, &waited.input, true)?;
                self.labour(at, self.share.forward, began);
            }
            self.spare.push(waited.weights);
        }
        let began = at.clock.now();
        let Back { error, loss: own } = self.stage.backward(&piece, &flow.values, gradient)?;
        self.labour(at, self.share.backward, began);
        let loss = own.unwrap_or(loss);
        if self.index > 0 {
            let flow = Flow { values: error, ..Flow::default() };
            links.push(Way::Back, self.index - 1, Some(Token { id, part, flow, loss }))?;
        }
        Ok(Some(loss))
    }

    /// Puts a gradient, or 0, where it belongs in the worker's.
    fn scatter(&self, found: bool, gradient: &[f32], into: &mut [f32]) {
        let mut rest = gradient;
        for (range, again) in &self.slots {
            let (here, left) = rest.split_at(range.len());
            rest = left;
            match (found, again) {
                (true, true) => flat::add(&mut into[range.clone()], here),
                (true, false) => into[range.clone()].copy_from_slice(here),
                (false, true) => {}
                (false, false) => into[range.clone()].fill(0.0),
            }
        }
    }

    /// Puts the batches that wait into `state`.
    pub fn save(&self, state: &mut State) {
        let name = format!("block/{}", self.index);
        let tokens: Vec<Token> =
            self.waiting.iter().map(|w| Token { id: w.id, part: 0, flow: w.input.clone(), loss: 0.0 }).collect();
        link::save(state, &name, tokens.iter().map(Some));
        for (i, waiting) in self.waiting.iter().enumerate().filter(|(_, w)| !w.weights.is_empty()) {
            state.put(&format!("{name}/{i}/weights"), &waiting.weights);
        }
    }

    /// Takes them back: passes that were kept are made again.
    pub fn load(&mut self, state: &State) -> Result<()> {
        let name = format!("block/{}", self.index);
        self.waiting.clear();
        for (i, token) in link::load(state, &name)?.into_iter().flatten().enumerate() {
            let mut weights = Vec::new();
            if !self.pipeline.recomputes(self.index, self.blocks) {
                weights.resize(self.len, 0.0);
                state.take(&format!("{name}/{i}/weights"), &mut weights)?;
                let piece = self.source.piece(token.id, 0, self.pipeline.micro);
                self.stage.load(&weights)?;
                self.stage.forward(&piece, &token.flow, true)?;
            }
            self.waiting.push_back(Waiting { id: token.id, input: token.flow, weights });
        }
        Ok(())
    }
}
