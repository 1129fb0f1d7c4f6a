//! Epochs: every client passes over its own rows so many times between meetings.
//!
//! # What it does
//! Lets a client with many rows make many steps, and one with few rows few.
//!
//! # The step
//! ```text
//! H_k = ⌈E·⌈n_k / b⌉⌉ local steps of client k;   the run counts ⌈E·n̄ / b⌉ steps a round, n̄ the mean of all n_k
//! ```
//! # Contract
//! n_k rows, b rows a step; with full batches a pass is one step. A client goes on in its own order of rows from round
//! to round. The rate is annealed by the run's steps, which are the same for everybody.
//!
//! # When it helps, when it hurts
//! How federated clients work. Clients with many rows go further from the model than others and pull it harder: with
//! unequal sizes the fixed point moves, which `local=scaffold` mends.
//!
//! # Reference
//! McMahan et al.: Communication-efficient learning of deep networks (1602.05629).
//!
//! # Deviations from the paper
//! None.

use super::{Facts, Schedule};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Schedule>> = Entry {
    name: "epochs",
    about: "every client passes over its own rows so many times between meetings",
    keys: &[Key { name: "count", default: "1", about: "passes, above 0; 0.5 is half of one" }],
    build: |args| Ok(Box::new(Epochs { count: args.positive("count")? })),
};

/// Passes over a client's own rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epochs {
    /// How many.
    pub count: f64,
}

/// A pass is no longer than this, so that steps stay numbers that can be counted.
const MOST: f64 = 1e12;

impl Schedule for Epochs {
    fn silence(&self, facts: &Facts) -> u64 {
        libm::ceil((self.count * facts.epoch).clamp(1.0, MOST)) as u64
    }

    fn own(&self, pass: u64) -> Option<u64> {
        Some(libm::ceil((self.count * pass as f64).clamp(1.0, MOST)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_makes_as_many_steps_as_its_rows_ask_for() {
        let own = |count, pass| Epochs { count }.own(pass).unwrap();
        assert_eq!((own(1.0, 7), own(3.0, 7), own(0.5, 7), own(5.0, 1), own(0.1, 1)), (7, 21, 4, 5, 1));
    }
}
