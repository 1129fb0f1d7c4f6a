//! Hosts: leaders meet for their hosts, and tell them what came of it.
//!
//! # What it does
//! Puts an exchange between the first ranks of all hosts, and a broadcast inside each host behind it.
//!
//! # The step
//! ```text
//! host h = ranks hS .. (h + 1)S,  leader hS,  all of whose ranks give the same
//! leaders:   said, agreed = exchange of voices 0 .. N/S − 1
//! in a host: the leader tells agreed, and said where it is remembered
//! ```
//! # Contract
//! Every rank has one voice, and the ranks of a host give the same vector bit for bit: their gradients were averaged at every
//! step. A host codes with the streams of its number, so with S = 1 every bit is that of the exchange alone. What is
//! told inside a host is counted as `inside`. What leaders remember others do not: they never need it.
//!
//! # When it helps, when it hurts
//! Links inside a host are fast and those between hosts slow: S ranks are one on the slow link. It takes a dense average of
//! gradients inside the host at every step.
//!
//! # Reference
//! Lin, Stich, Patel, Jaggi: Don't use large mini-batches, use local SGD (1808.07217), hierarchical local SGD.
//!
//! # Deviations from the paper
//! Inside a host there are no local steps: every step is everybody's, as with the block that synchronises at every step.

use super::{Average, Exchange, Frame, Talk, Voice, broadcast};
use crate::base::{Former, Layout, Purpose, Result, State};
use crate::fabric::{Among, Port};
use crate::topology::Topology;

/// An exchange between hosts.
pub struct Hosts {
    inner: Box<dyn Exchange>,
    topology: Topology,
    /// Whether what was said is remembered, so that a host has to know.
    remembers: bool,
}

impl Hosts {
    /// Of hosts as a topology has them.
    pub fn new(inner: Box<dyn Exchange>, topology: Topology, remembers: bool) -> Self {
        Self { inner, topology, remembers }
    }

    /// Among leaders, as one of them: `act` with the voice of this rank's host. Nothing on other ranks.
    fn lead<R>(
        &mut self,
        talk: &mut Talk,
        act: impl FnOnce(&mut dyn Exchange, &mut Talk, Voice) -> Result<R>,
    ) -> Result<Option<R>> {
        let (rank, ranks) = (talk.port.rank(), talk.port.size());
        if self.topology.host(rank).start != rank {
            return Ok(None);
        }
        let leaders: Vec<usize> = self.topology.leaders(ranks).collect();
        let voices = Voice::ranks(leaders.len());
        let mut port = Among::new(&mut *talk.port, &leaders)?;
        let voice = voices[port.rank()];
        let mut among = Talk {
            port: &mut port,
            compressor: &mut *talk.compressor,
            aggregator: &mut *talk.aggregator,
            layout: talk.layout,
            seed: talk.seed,
            frame: talk.frame,
            purpose: talk.purpose,
            voices: &voices,
            expected: voices.len() as f64,
            clients: false,
            weights: &[],
        };
        act(&mut *self.inner, &mut among, voice).map(Some)
    }
}

/// Averages vectors densely over everybody, in place, crossing the links between hosts once a host.
pub struct Means {
    average: Average,
    topology: Topology,
}

impl Means {
    /// Over the ranks of a topology.
    pub fn new(topology: Topology) -> Self {
        Self { average: Average::default(), topology }
    }

    /// Overwrites everybody's `vector` with the mean of all.
    pub fn of(&mut self, port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &mut [f32]) -> Result<()> {
        self.inside(port, frame, vector)?;
        self.alike(port, purpose, frame, vector)
    }

    /// The same, where the ranks of a host have the same vector.
    pub fn alike(&mut self, port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &mut [f32]) -> Result<()> {
        if self.topology.size() == 1 {
            return self.average.of(port, purpose, frame, vector);
        }
        let (rank, ranks) = (port.rank(), port.size());
        let members: Vec<usize> = self.topology.host(rank).collect();
        if members[0] == rank {
            let leaders: Vec<usize> = self.topology.leaders(ranks).collect();
            self.average.of(&mut Among::new(port, &leaders)?, purpose, frame, vector)?;
        }
        broadcast(&mut Among::new(port, &members)?, &Purpose::Inside, frame, vector).map(|_| ())
    }

    /// Overwrites the vector of every rank of this host with their mean.
    pub fn inside(&mut self, port: &mut dyn Port, frame: Frame, vector: &mut [f32]) -> Result<()> {
        if self.topology.size() == 1 {
            return Ok(());
        }
        let members: Vec<usize> = self.topology.host(port.rank()).collect();
        self.average.of(&mut Among::new(port, &members)?, &Purpose::Inside, frame, vector)
    }
}

impl Exchange for Hosts {
    fn begin(&mut self, talk: &mut Talk, _: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        self.lead(talk, |inner, talk, voice| inner.begin(talk, voice, given, said)).map(|_| ())
    }

    fn progress(&mut self, talk: &mut Talk) -> Result<()> {
        self.lead(talk, |inner, talk, _| inner.progress(talk)).map(|_| ())
    }

    fn finish(&mut self, talk: &mut Talk, said: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let flags = self.lead(talk, |inner, talk, _| inner.finish(talk, said, agreed))?;
        let members: Vec<usize> = self.topology.host(talk.port.rank()).collect();
        let mut host = Among::new(&mut *talk.port, &members)?;
        let frame = Frame { flags: flags.unwrap_or(talk.frame.flags), ..talk.frame };
        if self.remembers {
            broadcast(&mut host, &Purpose::Inside, frame, said)?;
        }
        broadcast(&mut host, &Purpose::Inside, frame, agreed)
    }

    fn owed(&self) -> f64 {
        self.inner.owed()
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.inner.load(state, layout)
    }

    /// A rank takes what the leader of its host would.
    fn deal(&mut self, former: &Former, rank: usize) -> Result<State> {
        self.inner.deal(former, rank / self.topology.size())
    }
}
