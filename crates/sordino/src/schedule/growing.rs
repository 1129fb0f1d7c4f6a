//! Growing: intervals that grow linearly with the round.
//!
//! # What it does
//! Speaks often at the beginning and ever more rarely, whatever the rate does.
//!
//! # The step
//! ```text
//! H(r) = a·(r + 1)          a = ⌈2S/R²⌉ gives about R rounds over S steps
//! ```
//! # Contract
//! `by` is a. The caller clamps the last round.
//!
//! # When it helps, when it hurts
//! For identically distributed workers and a rate that decays like 1/t, a number of rounds that grows with the number
//! of workers alone is enough. Not for heterogeneous data.
//!
//! # Reference
//! Spiridonoff, Olshevsky, Paschalidis: From local SGD to one-shot averaging (2106.04759).
//!
//! # Deviations from the paper
//! The constant is given directly (its form in the paper is unverified).

use super::{Facts, Schedule};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Schedule>> = Entry {
    name: "growing",
    about: "intervals that grow linearly with the round",
    keys: &[Key { name: "by", default: "1", about: "a of H(r) = a (r + 1)" }],
    build: |args| Ok(Box::new(Growing(args.count("by", 1)?))),
};

/// H(r) = a·(r + 1).
#[derive(Clone, Copy, Debug)]
pub struct Growing(pub u64);

impl Schedule for Growing {
    fn silence(&self, facts: &Facts) -> u64 {
        self.0.saturating_mul(facts.round + 1)
    }
}
