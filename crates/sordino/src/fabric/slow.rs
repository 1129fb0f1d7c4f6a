//! Slow: which of a run's clients are slower than the others, and how many times; what keys say of it on any fabric.

use crate::base::Result;
use crate::grammar::Args;

/// The clients that are slow; nobody where `count` is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// How many clients, those with the highest ids, are slow.
    pub count: u64,
    /// How many times as long as others' a slow client's steps take.
    pub factor: f64,
}

impl Slow {
    /// What the keys `slow` and `factor` say.
    pub(super) fn from_args(args: &Args) -> Result<Self> {
        Ok(Self { count: args.count("slow", 0)?, factor: args.positive("factor")? })
    }

    /// How many times as long as others' the steps of one of `clients` clients take.
    pub fn times(&self, client: u64, clients: u64) -> f64 {
        if (clients.saturating_sub(self.count)..clients).contains(&client) { self.factor } else { 1.0 }
    }
}
