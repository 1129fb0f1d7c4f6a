//! Many become one.

mod bucketing;
mod centered_clip;
mod geometric;
mod heard;
mod krum;
mod mean;
mod median;
mod sum;
mod trimmed;
mod weighted;

pub use bucketing::Bucketing;
pub use centered_clip::CenteredClip;
pub use geometric::Geometric;
pub use heard::{Heard, middle};
pub use krum::Krum;
pub use mean::Mean;
pub use median::Median;
pub use sum::Sum;
pub use trimmed::Trimmed;
pub use weighted::Weighted;

use crate::base::{Former, Layout, Result, State};
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

/// A running sum, and what the next vector does to it.
#[derive(Debug, PartialEq)]
pub enum Onto<'a> {
    /// The vector is the first: it overwrites what is there.
    First(&'a mut [f32]),
    /// So many times the vector is added.
    More(&'a mut [f32], f32),
}

/// Makes one vector of many.
///
/// # Contract
/// `begin`, then `add` or `onto` once per voice in the order of ranks or clients, then `finish`. Blind to order up to rounding
/// (the caller fixes the order, so results do not depend on arrivals), unless `blind_to_order` says otherwise.
/// Unanimous in, unanimous out, times its `gain`, which is 1 for all but sums; what moves every vector moves the
/// aggregate alike, times the same. One that goes on from its last aggregate (`remembers`) is unanimous once it has
/// settled, that is after meetings enough in which the same was told, and is moved alike where what it remembers was moved
/// too. What is remembered from one meeting to the next is part of the checkpoint. One that withstands liars is finite
/// whatever finite vectors they send.
pub trait Aggregator: Send {
    /// Starts a new aggregation; refuses one of fewer voices than it can work with.
    fn begin(&mut self, gathering: &Gathering) -> Result<()>;

    /// Takes one worker's vector; `weight` is its number of rows.
    fn add(&mut self, vector: &[f32], weight: f32);

    /// Lends the running sum, where there is one, to whoever adds the next vector to it: the same bits as `add`, without the
    /// vector. Where that fails half-way the aggregate is of no use; `begin` starts anew.
    fn onto(&mut self, _weight: f32) -> Option<Onto<'_>> {
        None
    }

    /// Overwrites `out` with the aggregate.
    fn finish(&mut self, out: &mut [f32]);

    /// Whether weights matter, so that they must travel.
    fn weighs(&self) -> bool {
        false
    }

    /// What `voices` voices that all tell the same are multiplied by, where `expected` speak on average over rounds.
    fn gain(&self, _voices: f64, _expected: f64) -> f64 {
        1.0
    }

    /// Whether the aggregate is a sum of scaled contributions, so that an all-reduce can make it.
    fn linear(&self) -> bool {
        false
    }

    /// Whether every entry of the aggregate is made of the voices' same entry and nothing else, so that chunks of vectors
    /// may be aggregated one by one.
    fn by_entry(&self) -> bool {
        self.linear()
    }

    /// How many of `workers` may send anything at all without moving the result arbitrarily far.
    fn withstands(&self, _workers: usize) -> usize {
        0
    }

    /// Whether the order in which voices are told matters to nothing but rounding.
    fn blind_to_order(&self) -> bool {
        true
    }

    /// Whether it goes on from its last aggregate.
    fn remembers(&self) -> bool {
        false
    }

    /// Puts what is remembered between meetings into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// What every rank of a run with another number of ranks takes back: what is the same on all that add up.
    fn deal(&self, former: &Former) -> Result<State> {
        former.same_but(&[])
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Aggregator>>] = &[
    &bucketing::ENTRY,
    &centered_clip::ENTRY,
    &geometric::ENTRY,
    &krum::ENTRY,
    &mean::ENTRY,
    &median::ENTRY,
    &sum::ENTRY,
    &trimmed::ENTRY,
    &weighted::ENTRY,
];

/// Builds the aggregator that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Aggregator>> {
    grammar::build("aggregate", ENTRIES, element)
}
