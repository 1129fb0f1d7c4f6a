//! Constant: the same number of local steps in every round.
//!
//! # What it does
//! Answers H.
//!
//! # The step
//! ```text
//! H(r) = every
//! ```
//! # Contract
//! H = 1 is the neutral element: every step is a meeting. Rounds over S steps: ⌈S/H⌉.
//!
//! # When it helps, when it hurts
//! H times fewer rounds; too large an H early on hurts optimisation, too small a one late wastes bytes.
//!
//! # Reference
//! Stich: Local SGD converges fast and communicates little (1805.09767).
//!
//! # Deviations from the paper
//! None.

use super::{Facts, Schedule};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Schedule>> = Entry {
    name: "constant",
    about: "the same number of local steps in every round",
    keys: &[Key { name: "every", default: "1", about: "local steps per round, H" }],
    build: |args| Ok(Box::new(Constant(args.count("every", 1)?))),
};

/// H local steps in every round.
#[derive(Clone, Copy, Debug)]
pub struct Constant(pub u64);

impl Schedule for Constant {
    fn silence(&self, _: &Facts) -> u64 {
        self.0
    }
}
