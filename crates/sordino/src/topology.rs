//! Who may talk to whom, and which ranks stand on one host.
//!
//! With `hosts(size=S)` ranks 0 to S − 1 stand on the first host, the next S on the second, and so on. Inside a host
//! gradients are averaged at every local step, so that its ranks are one worker with S times the batch; the recipe is what
//! happens across hosts, whose leaders, the first rank of each, meet for all of it and tell it.

use std::ops::Range;

use crate::base::{Error, Result};
use crate::grammar::{self, Element, Entry, Key};

/// Who may talk to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody to everybody. The neutral element.
    Complete,
    /// Everybody inside a host, and hosts by their leaders.
    Hosts {
        /// Ranks of a host.
        size: usize,
    },
}

impl Topology {
    /// Ranks that make their steps together.
    pub fn size(self) -> usize {
        match self {
            Self::Complete => 1,
            Self::Hosts { size } => size,
        }
    }

    /// How many hosts `ranks` ranks stand on; every rank is one where nobody said otherwise.
    pub fn hosts(self, ranks: usize) -> Result<usize> {
        let size = self.size();
        if ranks.is_multiple_of(size) {
            return Ok(ranks / size);
        }
        let fewer = ranks / size * size;
        let fewer = if fewer == 0 { String::new() } else { format!("{fewer} or ") };
        Err(Error::request(format!(
            "`topology=hosts(size={size})` with {ranks} ranks: every host has {size}, so their number must be a multiple of \
             that; start {fewer}{}, or set topology.size",
            (ranks / size + 1) * size
        )))
    }

    /// The ranks of the host that a rank stands on.
    pub fn host(self, rank: usize) -> Range<usize> {
        let first = rank - rank % self.size();
        first..first + self.size()
    }

    /// The first rank of every host.
    pub fn leaders(self, ranks: usize) -> impl Iterator<Item = usize> {
        (0..ranks).step_by(self.size())
    }
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Topology>] = &[
    &Entry { name: "complete", about: "everybody talks to everybody", keys: &[], build: |_| Ok(Topology::Complete) },
    &Entry {
        name: "hosts",
        about: "every step inside a host, the recipe across hosts: ranks that share one average their gradients, leaders meet",
        keys: &[Key { name: "size", default: "2", about: "ranks of a host, which follow one another" }],
        build: |args| Ok(Topology::Hosts { size: args.count("size", 1)? as usize }),
    },
];

/// Builds the topology that an element names.
pub fn build(element: &Element) -> Result<Topology> {
    grammar::build("topology", ENTRIES, element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_stand_on_hosts_in_their_order() {
        let two = build(&Element::parse("hosts(3)").unwrap()).unwrap();
        assert_eq!((two.hosts(6).unwrap(), two.host(4), two.leaders(6).collect::<Vec<_>>()), (2, 3..6, vec![0, 3]));
        let error = two.hosts(7).unwrap_err().to_string();
        assert!(error.contains("start 6 or 9"), "{error}");
        assert!(two.hosts(2).unwrap_err().to_string().contains("start 3, or set"));
        let all = Topology::Complete;
        assert_eq!((all.hosts(5).unwrap(), all.host(4), all.leaders(3).collect::<Vec<_>>()), (5, 4..5, vec![0, 1, 2]));
    }
}
