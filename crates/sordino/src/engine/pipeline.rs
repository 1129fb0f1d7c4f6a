//! Pipelines: a network cut into blocks, each on a worker of its own, trained by all of them at once.
//!
//! An iteration of a pipeline is a local step of every one of its workers: pop forward, push forward, pop back, push
//! back, step. Links begin with as many empty tokens as wait on them, so the numbers do not depend on who is fast. Ranks
//! that hold the same blocks of different copies of the network meet as workers do, in groups of their own; everything
//! that the round does with a model it does with a worker's blocks.

mod block;
mod link;
mod seat;

use std::sync::Arc;

pub(super) use seat::Share;
pub use seat::{Seat, weigh};

use self::block::{Block, Moment, Source};
use self::link::Links;
use super::premises::Premises;
use super::session::Parts;
use crate::base::{Aside, Error, Former, Layout, Result, State, flat};
use crate::fabric::{Clock, Port, Shared};
use crate::local::{Ground, Local, Spent};
use crate::optim::Transform as _;
use crate::payload::Payload;
use crate::placement::Stale;
use crate::workload::Workload;

/// Local steps that are iterations of a pipeline.
///
/// # Contract
/// An ordinary `Local` to the round, but one that talks: to its neighbours, over the links. The chain of the recipe's
/// optimizer steps a worker's blocks, as plain local steps do, or the gradient is offered raw. With `stale=recompute`
/// no step is made before a real error has come to a block of the worker; with `stale=stash` gradients are 0 until then,
/// and are stepped along. The loss is that of the batches that came back.
pub struct Piped {
    steps: Box<dyn Local>,
    payload: Payload,
    patient: bool,
    blocks: Vec<Block>,
    links: Links,
    clock: Arc<dyn Clock>,
    premises: Premises,
    compared: bool,
    /// Iterations made.
    turns: u64,
    gradient: Vec<f32>,
}

impl Piped {
    /// The iterations of the rank in `seat`, whose local steps `parts` describe.
    pub(super) fn new(
        parts: &mut Parts,
        seat: &Seat,
        whole: &dyn Workload,
        port: Shared,
        seed: u64,
        total: Option<u64>,
    ) -> Result<Self> {
        let (pipeline, cut) = (&seat.pipeline, &seat.cut);
        let source = Source { seed, client: seat.copy as u64, batch: parts.batch };
        let blocks = seat
            .hosted()
            .map(|index| {
                let stage = whole.stage(cut.blocks[index].clone())?;
                let place = (index, cut.blocks.len());
                Ok(Block::new(place, pipeline, source, cut.shares[index], stage, seat.slots(index)))
            })
            .collect::<Result<_>>()?;
        let clock = Arc::clone(&parts.clock);
        Ok(Self {
            steps: std::mem::replace(&mut parts.local, Box::new(Nothing)),
            payload: parts.payload,
            patient: pipeline.stale == Stale::Recompute,
            blocks,
            links: Links::new(port, Arc::clone(&clock), seat.ranks(), pipeline.waiting(), pipeline.micro),
            clock,
            premises: Premises::new(parts.fingerprint, seed, total, whole.layout()),
            compared: false,
            turns: 0,
            gradient: vec![0.0; seat.layout.len()],
        })
    }

    /// One iteration of all blocks of this worker: the loss of what came back to one of them, if anything did.
    fn turn(&mut self, point: &[f32]) -> Result<Option<f64>> {
        let rank = self.links.port().rank();
        let at = Moment { now: self.turns, point, rank, clock: &*self.clock };
        let mut loss = None;
        for block in &mut self.blocks {
            let found = block.turn(&at, &mut self.links, &mut self.gradient)?;
            loss = found.or(loss);
        }
        self.turns += 1;
        Ok(loss)
    }
}

impl Local for Piped {
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        _: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent> {
        if !self.compared {
            self.premises.compare(self.links.port(), self.turns)?;
            self.compared = true;
        }
        if ground.draw != self.turns {
            return Err(Error::mismatch(format!(
                "a pipeline has made {} iterations, and a round begins with draw {}: draws must follow one another",
                self.turns, ground.draw
            )));
        }
        self.steps.begin(point);
        let (mut sum, mut heard, mut fresh) = (0.0, 0u32, true);
        for i in 0..steps {
            let loss = self.turn(point)?;
            if let Some(loss) = loss {
                sum += loss;
                heard += 1;
            }
            if loss.is_none() && self.patient {
                continue;
            }
            let found = if self.payload == Payload::Gradient {
                &self.gradient
            } else {
                self.steps.step(ground, ground.at(i, steps), point, &mut self.gradient)?
            };
            // Where parameters are offered the point says it all.
            match (self.payload, fresh) {
                (Payload::Parameters, _) => {}
                (_, true) => offer.copy_from_slice(found),
                (_, false) => flat::add(offer, found),
            }
            fresh = false;
        }
        if fresh {
            offer.fill(0.0);
        }
        if self.payload == Payload::Gradient && steps > 1 {
            flat::divide(offer, steps as f32);
        }
        Ok(Spent {
            loss: if heard == 0 { f64::NAN } else { sum / f64::from(heard) },
            clipped: ground.optimizer.chain.clipped_steps(),
            clipped_rows: 0,
            asides: Vec::new(),
        })
    }

    fn asides(&self, _: &dyn Workload) -> Vec<Aside> {
        Vec::new()
    }

    fn quiet(&mut self) -> Result<()> {
        self.links.quiet(self.turns)
    }

    fn talked(&mut self) -> Option<f64> {
        Some(self.links.waited())
    }

    fn save(&mut self, state: &mut State) -> Result<()> {
        self.quiet()?;
        state.put_numbers("turns", &[self.turns]);
        self.links.save(state);
        for block in &self.blocks {
            block.save(state);
        }
        let mut steps = State::default();
        self.steps.save(&mut steps)?;
        state.put_all("steps", steps);
        Ok(())
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        [self.turns] = state.take_numbers("turns")?;
        self.compared = false;
        self.links.load(state, self.turns)?;
        for block in &mut self.blocks {
            block.load(state)?;
        }
        self.steps.load(&state.part("steps"), layout)
    }

    fn deal(&mut self, former: &Former, workload: &mut dyn Workload, seed: u64, client: u64) -> Result<State> {
        for theirs in former.each() {
            let on_its_way = |(name, numbers): (&String, &Vec<u64>)| link::names(name) && !numbers.is_empty();
            if theirs.numbers.iter().any(on_its_way) {
                return Err(Error::request(
                    "`placement=pipeline` has batches on their way between blocks, and with another number of copies of the \
                     network these would be of other rows; resume with as many workers as the checkpoint is of",
                ));
            }
        }
        // All copies have made as many turns, and nothing waits.
        let mut state = former.each().next().unwrap_or_default();
        state.vectors.clear();
        state.numbers.retain(|name, _| name == "turns" || link::names(name));
        state.put_all("steps", self.steps.deal(&former.part("steps"), workload, seed, client)?);
        Ok(state)
    }
}

/// What stands where the local steps were before a pipeline took them over.
struct Nothing;

impl Local for Nothing {
    fn spend(&mut self, _: &mut Ground, _: &mut [f32], _: &mut [f32], _: &mut [f32], _: u64) -> Result<Spent> {
        Err(Error::request("a pipeline has taken these local steps over"))
    }
}
