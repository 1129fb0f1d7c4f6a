//! Everyone: all workers take part in every round.
//!
//! # What it does
//! Asks everybody and waits for all. The neutral element.
//!
//! # The step
//! ```text
//! S(r) = {0, …, N − 1}
//! ```
//! # Contract
//! The fraction of workers that spoke is 1.
//!
//! # When it helps, when it hurts
//! The slowest worker sets the pace.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::Participation;
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Participation>> = Entry {
    name: "everyone",
    about: "all workers take part in every round",
    keys: &[],
    build: |_| Ok(Box::new(Everyone)),
};

/// All workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everyone;

impl Participation for Everyone {
    fn asked(&self, _: u64, _: u64, workers: usize, asked: &mut Vec<u64>) {
        asked.clear();
        asked.extend(0..workers as u64);
    }
}
