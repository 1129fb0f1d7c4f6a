//! Many become one.

mod mean;
mod weighted;

pub use mean::Mean;
pub use weighted::Weighted;

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// Makes one vector of many.
///
/// # Contract
/// `begin`, then `add` once per worker in rank order, then `finish`. Blind to order up to rounding (the caller fixes
/// the order, so results do not depend on arrivals); unanimous in, unanimous out.
pub trait Aggregator: Send {
    /// Starts a new aggregation of vectors of `len` entries.
    fn begin(&mut self, len: usize);

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
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Aggregator>>] = &[&mean::ENTRY, &weighted::ENTRY];

/// Builds the aggregator that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Aggregator>> {
    grammar::build("aggregate", ENTRIES, element)
}
