//! None: nothing is hidden.
//!
//! # What it does
//! Nothing. The neutral element.
//!
//! # The step
//! ```text
//! v ← v
//! ```
//! # Contract
//! No epsilon is told.
//!
//! # When it helps, when it hurts
//! Wherever the data are nobody's secret.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::Mechanism;
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Option<Box<dyn Mechanism>>> =
    Entry { name: "none", about: "nothing is hidden", keys: &[], build: |_| Ok(None) };
