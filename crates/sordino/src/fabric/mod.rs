//! Ports: how bytes get from one rank to another. Every collective stands on two verbs.

mod faulty;
mod group;
pub mod held;
mod metered;
mod parting;
mod sim;
mod slow;
mod threads;

pub use faulty::{Fault, Faulty};
pub use group::{Among, Group, Shared};
pub use metered::{Meter, Metered};
pub use parting::Parting;
pub use sim::{SimClock, SimPort, World, simulate, together};
pub use slow::Slow;
pub use threads::{ThreadPort, at_once, connect, on_threads};

use std::ops::Range;

use crate::base::{Error, Link, Party, Purpose, Result, State};
use crate::grammar::{self, Element, Entry};

/// What the ranks of a run talk through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Medium {
    /// As fast as they can, but for threads that whoever gives them their clocks slows down. The neutral element.
    Threads(Slow),
    /// Through a simulated world, in virtual time.
    Sim(World),
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Medium>] = &[&sim::ENTRY, &threads::ENTRY];

/// Builds the medium that an element names.
pub fn build(element: &Element) -> Result<Medium> {
    grammar::build("fabric", ENTRIES, element)
}

/// Time is an argument: real from the faces, virtual in a simulation.
pub trait Clock: Send + Sync {
    /// Seconds since some fixed moment.
    fn now(&self) -> f64;

    /// Seconds of processor time that the calling thread has used; 0 where that is unknown.
    fn cpu(&self) -> f64 {
        0.0
    }

    /// The calling rank has spent these local steps of a round for a client, which took `seconds` of this clock. The
    /// steps of a client's round are numbered from 0, and told once: all of them, or in parts where words are said
    /// between. A virtual clock moves by what they take in its world.
    fn worked(&self, _client: u64, _round: u64, _steps: Range<u64>, _seconds: f64) {}

    /// The calling rank, as `worker`, has done this fraction of the work of a step, which took `seconds` of this clock. A
    /// virtual clock moves by what it takes in its world.
    fn laboured(&self, _worker: u64, _step: u64, _fraction: f64, _seconds: f64) {}

    /// Seconds after the round's start at which each asked client's report would be in, infinite where the client
    /// fails; `None` on a clock that cannot foresee it.
    fn reports(&self, _round: u64, _asked: &[Trip]) -> Option<Vec<f64>> {
        None
    }

    /// Moves a virtual clock forward by a finite number of seconds.
    fn advance(&self, _seconds: f64) {}
}

/// What is asked of a client in a federated round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Who is asked.
    pub client: u64,
    /// Local steps to make.
    pub steps: u64,
    /// Bytes sent to the client.
    pub down: u64,
    /// Bytes that the client sends back.
    pub up: u64,
}

/// A clock that stands still: runs below the wall that nobody times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Still;

impl Clock for Still {
    fn now(&self) -> f64 {
        0.0
    }
}

/// Between whom a message goes. In a star rank 0 hosts the server, which is a party of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Worker to worker.
    Across,
    /// Worker to the server.
    Up,
    /// The server to a worker.
    Down,
    /// A federated client to the server, whichever rank speaks for it.
    FromClient,
    /// The server to a federated client.
    ToClient,
}

/// What a message is for and between whom; both ends state it, the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What for.
    pub purpose: Purpose,
    /// Between whom.
    pub way: Way,
}

impl Tag {
    /// A message from worker to worker.
    pub fn across(purpose: Purpose) -> Self {
        Self { purpose, way: Way::Across }
    }

    /// The two parties of a message between two ranks.
    pub fn parties(&self, from: usize, to: usize) -> (Party, Party) {
        match self.way {
            Way::Across => (Party::Worker(from), Party::Worker(to)),
            Way::Up => (Party::Worker(from), Party::Server),
            Way::Down => (Party::Server, Party::Worker(to)),
            Way::FromClient => (Party::Clients, Party::Server),
            Way::ToClient => (Party::Server, Party::Clients),
        }
    }
}

/// One rank's end of the fabric.
///
/// # Contract
/// Messages between two ranks arrive in the order in which they were sent, whole and once. `send` does not wait for the
/// receiver. `receive` waits until a message from that peer is there or says timeout; the buffer it is given is
/// overwritten (and may be swapped for another, so that memory goes round in circles).
pub trait Port: Send {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Sends bytes to another rank.
    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()>;

    /// Receives the next message of another rank.
    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()>;

    /// Receives the next message of whichever of some ranks is first to be there, and says whose it is. Each of them
    /// must have sent one, or be about to without hearing from this rank first.
    fn receive_any(&mut self, _from: &[usize], _tag: &Tag, _into: &mut Vec<u8>) -> Result<usize> {
        Err(Error::request("this port listens to one rank at a time; a server that serves whoever comes needs another"))
    }

    /// Waits until the next messages of each of some ranks are here, one for each tag, and keeps them for later.
    fn hold(&mut self, _from: &[usize], _tags: &[Tag]) -> Result<()> {
        Err(Error::request("this port keeps no words; a server that serves whoever comes needs another"))
    }

    /// Whether the next words of all these ranks are here, so that listening to them would not wait; never waits longer
    /// than words need that are sent whatever this rank does. A port that cannot tell says no; one whose words move only
    /// when it is called moves them on.
    fn here(&mut self, _from: &[usize], _tag: &Tag) -> Result<bool> {
        Ok(false)
    }

    /// Overwrites everybody's `vector` with the sum of all, by the engine's own collective and in its order of addition;
    /// all ranks call it with vectors of one length. Only a fabric over an engine that has one has this verb.
    fn all_reduce(&mut self, _tag: &Tag, _vector: &mut Vec<f32>) -> Result<()> {
        Err(Error::request("this fabric has no all-reduce of an engine's own; use exchange=reduce"))
    }

    /// Puts into `state` what time it is and how busy links are, where that is the port's to know.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }

    /// Puts words that have arrived and were not asked for into `state`.
    fn save_held(&self, _state: &mut State) {}

    /// Takes them back.
    fn load_held(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }

    /// Counts a message between a federated client and the server that stays on this rank because both are played
    /// here: on their own machines it would travel.
    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        if let Some(meter) = self.meter() {
            let (from, to) = tag.parties(0, 0);
            meter.ledger.count(&Link { from, to, purpose: tag.purpose.clone() }, bytes.len() as u64);
        }
    }

    /// What a metering decorator has counted, if there is one.
    fn meter(&mut self) -> Option<&mut Meter> {
        None
    }
}

/// All ranks but this one, in order.
pub fn peers(port: &dyn Port) -> impl Iterator<Item = usize> + use<> {
    let rank = port.rank();
    (0..port.size()).filter(move |peer| *peer != rank)
}

impl<P: Port + ?Sized> Port for Box<P> {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        (**self).send(to, tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        (**self).receive(from, tag, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        (**self).receive_any(from, tag, into)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        (**self).hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        (**self).here(from, tag)
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        (**self).all_reduce(tag, vector)
    }

    fn save(&self, state: &mut State) {
        (**self).save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        (**self).load(state)
    }

    fn save_held(&self, state: &mut State) {
        (**self).save_held(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        (**self).load_held(state)
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        (**self).count(tag, bytes);
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        (**self).meter()
    }
}

#[cfg(test)]
mod tests;
