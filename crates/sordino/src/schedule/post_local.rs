//! Post-local: every step first, then every H steps.
//!
//! # What it does
//! Speaks at every step until a switch, then H steps at a time.
//!
//! # The step
//! ```text
//! H = 1  before the switch;  every  after it
//! ```
//! # Contract
//! `switch` below 1 is a share of the run's steps (unknown: never), from 1 on a step. Before the switch it is the
//! neutral schedule.
//!
//! # When it helps, when it hurts
//! The paper switches at the first drop of the rate; large-batch runs generalise better after it.
//!
//! # Reference
//! Lin, Stich, Patel, Jaggi: Don't use large mini-batches, use local SGD (1808.07217).
//!
//! # Deviations from the paper
//! The switch is given as a point in the run, not tied to the rate's schedule.

use super::{Facts, Schedule};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Schedule>> = Entry {
    name: "post_local",
    about: "every step until a switch, then every H steps",
    keys: &[
        Key { name: "switch", default: "0.5", about: "below 1 a share of the steps, else a step" },
        Key { name: "every", default: "16", about: "local steps per round after the switch" },
    ],
    build: |args| Ok(Box::new(PostLocal { switch: args.positive_or_zero("switch")?, every: args.count("every", 1)? })),
};

/// Every step, then every H steps.
#[derive(Clone, Copy, Debug)]
pub struct PostLocal {
    /// When to switch: below 1 a share of the steps, else a step.
    pub switch: f64,
    /// Local steps per round afterwards.
    pub every: u64,
}

impl Schedule for PostLocal {
    fn silence(&self, facts: &Facts) -> u64 {
        let switch = if self.switch >= 1.0 {
            self.switch
        } else {
            facts.steps.map_or(f64::INFINITY, |s| self.switch * s as f64)
        };
        if (facts.step as f64) < switch { 1 } else { self.every }
    }
}
