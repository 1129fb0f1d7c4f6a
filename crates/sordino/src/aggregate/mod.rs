//! Many become one.

mod mean;
mod weighted;

pub use mean::Mean;
pub use weighted::Weighted;

use crate::base::{Layout, Result, State};
use crate::grammar::{self, Element, Entry};

/// What is known before the vectors of a meeting are told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gathering {
    /// Entries of every vector.
    pub len: usize,
    /// How many vectors will be told, at least 1.
    pub voices: usize,
    /// How many are told on average over rounds; `voices` where that never changes.
    pub expected: f64,
    /// The run's seed.
    pub seed: u64,
    /// The round, from 0.
    pub round: u64,
}

impl Gathering {
    /// Of `voices` vectors of `len` entries, in round 0 of seed 0.
    pub fn of(len: usize, voices: usize) -> Self {
        Self { len, voices, expected: voices as f64, seed: 0, round: 0 }
    }
}

/// Makes one vector of many.
///
/// # Contract
/// `begin`, then `add` once per voice in the order of ranks or clients, then `finish`. Blind to order up to rounding (the
/// caller fixes the order, so results do not depend on arrivals); unanimous in, unanimous out. What is remembered from
/// one meeting to the next is part of the checkpoint.
pub trait Aggregator: Send {
    /// Starts a new aggregation.
    fn begin(&mut self, gathering: &Gathering);

    /// Takes one worker's vector; `weight` is its number of rows.
    fn add(&mut self, vector: &[f32], weight: f32);

    /// Overwrites `out` with the aggregate.
    fn finish(&mut self, out: &mut [f32]);

    /// Whether weights matter, so that they must travel.
    fn weighs(&self) -> bool {
        false
    }

    /// Whether the aggregate is a sum of scaled contributions, so that an all-reduce can make it.
    fn linear(&self) -> bool {
        false
    }

    /// How many of `workers` may send anything at all without moving the result arbitrarily far.
    fn withstands(&self, _workers: usize) -> usize {
        0
    }

    /// Puts what is remembered between meetings into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Aggregator>>] = &[&mean::ENTRY, &weighted::ENTRY];

/// Builds the aggregator that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Aggregator>> {
    grammar::build("aggregate", ENTRIES, element)
}
