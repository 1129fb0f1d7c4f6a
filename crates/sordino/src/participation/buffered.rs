//! Buffered: the server makes an update of every so many words, and nobody waits for anybody.
//!
//! # What it does
//! Takes words as they come into a buffer; who has spoken gets the model as it is and goes back to work. A full buffer is
//! an update.
//!
//! # The step
//! ```text
//! worker k comes:  B ← B ∪ {its word} ;  tell k the model
//! |B| = size:      update by the words of B, in the order of clients ;  B ← ∅     (before k is told)
//! ```
//! # Contract
//! As `first_b`, but a worker may be in the buffer more than once. With `clients` above 0 a worker that is told the model
//! plays a client for it, drawn uniformly from those that nobody plays; clients remember nothing, optimizer state
//! included, whatever `local.state` says. With size 1 it is `first_b(1)`.
//!
//! # When it helps, when it hurts
//! Many clients of very unequal speed: the server never waits, and a buffer averages what single words are too noisy for.
//! Words grow older than in `first_b`: give them less weight with `staleness=discount`.
//!
//! # Reference
//! Nguyen et al.: Federated learning with buffered asynchronous aggregation (`FedBuff`, 2106.06639).
//!
//! # Deviations from the paper
//! As many clients are at work at the same time as there are workers.

use super::{Participation, Served};
use crate::base::{Error, Result};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Participation>> = Entry {
    name: "buffered",
    about: "the server updates with every so many words; nobody waits",
    keys: &[
        Key { name: "size", default: "10", about: "words of an update" },
        Key { name: "clients", default: "0", about: "federated clients that workers play; 0: the workers themselves" },
    ],
    build: |args| {
        let (size, clients) = (args.count("size", 1)? as usize, args.count("clients", 0)? as usize);
        Ok(Box::new(Buffered { size, clients }))
    },
};

/// A buffer of `size` words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffered {
    /// Words of an update.
    pub size: usize,
    /// Clients; 0 where the workers speak for themselves.
    pub clients: usize,
}

impl Participation for Buffered {
    fn asked(&self, _: u64, _: u64, workers: usize, asked: &mut Vec<u64>) {
        asked.clear();
        asked.extend(0..self.clients(workers) as u64);
    }

    fn clients(&self, workers: usize) -> usize {
        if self.clients == 0 { workers } else { self.clients }
    }

    fn served(&self) -> Option<Served> {
        Some(Served { count: self.size, waits: false, clients: self.clients })
    }

    fn fits(&self, workers: usize) -> Result<()> {
        if self.clients > 0 && self.clients < workers {
            return Err(Error::request(format!(
                "{workers} workers play clients at the same time, but `participation.clients` is {}; lower --workers or \
                 raise participation.clients",
                self.clients
            )));
        }
        Ok(())
    }
}
