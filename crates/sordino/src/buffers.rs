//! What a meeting does to buffers (running statistics of normalisation layers).

use crate::base::Result;
use crate::grammar::{self, Element, Entry, Key};

/// The rule for buffers. They are never compressed, clipped or stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// Averaged densely at every meeting. The neutral element.
    Average,
    /// Rank 0's are taken by all.
    Root,
    /// Everybody keeps their own.
    Local,
    /// Everybody keeps their own in training; before an evaluation each rank averages them anew over that many
    /// batches at the agreed model, and the ranks average the result.
    Reestimate(u64),
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Buffers>] = &[
    &Entry { name: "average", about: "averaged densely at every meeting", keys: &[], build: |_| Ok(Buffers::Average) },
    &Entry { name: "local", about: "every rank keeps its own", keys: &[], build: |_| Ok(Buffers::Local) },
    &Entry {
        name: "reestimate",
        about: "re-estimated at the agreed model before an evaluation",
        keys: &[Key { name: "batches", default: "10", about: "batches per rank" }],
        build: |args| Ok(Buffers::Reestimate(args.count("batches", 1)?)),
    },
    &Entry { name: "root", about: "rank 0's are taken by all", keys: &[], build: |_| Ok(Buffers::Root) },
];

/// Builds the rule that an element names.
pub fn build(element: &Element) -> Result<Buffers> {
    grammar::build("buffers", ENTRIES, element)
}
