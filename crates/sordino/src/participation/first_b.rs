//! First b: the server goes on as soon as so many of the workers have come.
//!
//! # What it does
//! Lets every worker work at its own pace; whoever has come waits until `count` have, is told what they agreed on, and
//! goes back to work. The others are not waited for.
//!
//! # The step
//! ```text
//! Φ = ∅ ;  until |Φ| = count: take the next word, whoever says it ;  Φ ← Φ ∪ {its worker}
//! update by the words of Φ, in the order of workers ;  tell everybody in Φ
//! ```
//! # Contract
//! Which words come first is an input: the record holds it, a run that is given it again gives the same bits, and a
//! virtual clock computes it from the seed. With as many as there are workers it is everybody's round. The server is a rank
//! of its own, the last one. What becomes of late words is said by `staleness`.
//!
//! # When it helps, when it hurts
//! Unequal workers: the slowest no longer sets the pace. The fast ones' data then count more often, so that with unequal
//! data the model stalls beside the optimum.
//!
//! # Reference
//! Huo, Huang: Straggler-agnostic and communication-efficient distributed primal-dual algorithm (ACPD, 1910.04235); with
//! count 1 asynchronous SGD, as in 2206.08307.
//!
//! # Deviations from the paper
//! None.

use super::{Participation, Served};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Participation>> = Entry {
    name: "first_b",
    about: "the server goes on with the first so many workers that come",
    keys: &[Key { name: "count", default: "1", about: "workers that an update waits for; they wait for it too" }],
    build: |args| Ok(Box::new(FirstB { count: args.count("count", 1)? as usize })),
};

/// The first `count` workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstB {
    /// Workers that an update waits for.
    pub count: usize,
}

impl Participation for FirstB {
    fn asked(&self, _: u64, _: u64, workers: usize, asked: &mut Vec<u64>) {
        asked.clear();
        asked.extend(0..workers as u64);
    }

    fn served(&self) -> Option<Served> {
        Some(Served { count: self.count, waits: true, clients: 0 })
    }
}
