//! Graphs of who may talk to whom, and their mixing weights.

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// Who may talk to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody to everybody. The neutral element.
    Complete,
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Topology>] =
    &[&Entry { name: "complete", about: "everybody talks to everybody", keys: &[], build: |_| Ok(Topology::Complete) }];

/// Builds the topology that an element names.
pub fn build(element: &Element) -> Result<Topology> {
    grammar::build("topology", ENTRIES, element)
}
