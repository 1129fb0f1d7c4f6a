//! Sim: a simulated world of slow links and unequal workers, with a virtual clock, on top of any port.
//!
//! # What it does
//! Gives every rank a clock of its own that moves by what work and words would take, and changes nothing else.
//!
//! # The step
//! ```text
//! worked:   now ← now + steps · pace(client, round)  (+ restart, if the client crashes in this round)
//! send:     leaves = max(now, up_free);  up_free = leaves + 8·bytes/rate
//!           first  = leaves + latency + jitter + losses · timeout,  not before the link's previous message
//! receive:  in = when the receiver's down link, idle from `first` on, has carried the message
//!           now ← max(now, in)
//! ```
//! A message alone on its way is in at leaves + latency + 8·bytes/rate: a link carries it while it still comes in.
//!
//! # Contract
//! The time at which a message's first byte is there travels behind its bytes and is taken off again: what is received
//! is bit for bit what the inner port would have given, and meters and faults belong outside, where they see messages
//! as sent. No global queue of events is needed: `receive` names its peer, so the next event of a rank is always known,
//! and its time is a function of stamps, of the rank's own past and of keyed draws. Hence clocks are the same whatever
//! the interleaving of threads. `send` takes no time of the sender; links are full duplex; evaluation and control
//! take no virtual time and no draws. Which peer is asked first does not change when a rank has heard them all.
//!
//! # When it helps, when it hurts
//! Seconds on links and workers that are not at hand, stragglers and crashes, replayable from a seed. It says nothing of
//! congestion between the end links, and its seconds per step are an assumption, not a measurement.
//!
//! # Reference
//! Chandy, Misra: Distributed simulation (IEEE TSE, 1979); Alexandrov et al.: `LogGP` (SPAA 1995), whose L and G are
//! latency and 8/rate.
//!
//! # Deviations from the paper
//! No lookahead and no null messages, as nobody listens to several peers at once. A message is lost whole, costs its
//! timeout and does not occupy its link twice. A rank's messages share its down link in the order in which it asks for
//! them. A resumed run starts its clocks and its links' draws anew.

mod line;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use world::World;

use self::line::Line;
use super::{Clock, Medium, Meter, Port, Tag, ThreadPort, Trip, connect};
use crate::base::{Error, Result};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Medium> = Entry {
    name: "sim",
    about: "a simulated world in virtual time: links, unequal workers, crashes",
    keys: world::KEYS,
    build: |args| Ok(Medium::Sim(World::from_args(args)?)),
};

/// A rank's virtual clock.
#[derive(Debug)]
pub struct SimClock {
    world: World,
    /// Seconds, as the bits of an f64.
    now: AtomicU64,
}

impl SimClock {
    /// The clock of one of `size` ranks, at 0 s. A world that leaves its number of clients open has one on every rank.
    pub fn new(world: &World, size: usize) -> Self {
        let clients = if world.clients == 0 { size as u64 } else { world.clients };
        Self { world: World { clients, ..*world }, now: AtomicU64::new(0.0f64.to_bits()) }
    }

    /// The world that this clock belongs to.
    pub fn world(&self) -> &World {
        &self.world
    }

    fn moved(&self, by: impl Fn(f64) -> f64) {
        let then = |bits| Some(by(f64::from_bits(bits)).to_bits());
        // Never refused: the closure always has an answer.
        let _ = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, then);
    }
}

impl Clock for SimClock {
    fn now(&self) -> f64 {
        f64::from_bits(self.now.load(Ordering::Relaxed))
    }

    fn worked(&self, client: u64, round: u64, steps: u64) {
        let mut seconds = steps as f64 * self.world.pace(client, round);
        if self.world.crashes(client, round) {
            seconds += self.world.restart;
        }
        self.advance(seconds);
    }

    fn laboured(&self, worker: u64, step: u64, fraction: f64) {
        self.advance(fraction * self.world.pace(worker, step));
    }

    fn reports(&self, round: u64, asked: &[Trip]) -> Option<Vec<f64>> {
        Some(asked.iter().map(|trip| self.world.report(round, trip)).collect())
    }

    fn advance(&self, seconds: f64) {
        if seconds.is_finite() && seconds > 0.0 {
            self.moved(|now| now + seconds);
        }
    }
}

/// A port whose messages take virtual time.
pub struct SimPort<P> {
    inner: P,
    clock: Arc<SimClock>,
    /// When the up link has carried everything sent so far.
    up_free: f64,
    down: Line,
    /// Per peer: messages sent, and when the first byte of the latest is there.
    sent: Vec<(u64, f64)>,
    out: Vec<u8>,
}

impl<P: Port> SimPort<P> {
    /// Sends through `inner` in the time of `clock`, which belongs to this rank alone.
    pub fn new(inner: P, clock: Arc<SimClock>) -> Self {
        let sent = vec![(0, 0.0); inner.size()];
        Self { inner, clock, up_free: 0.0, down: Line::default(), sent, out: Vec::new() }
    }

    /// A message takes the up link; when its first byte will be there.
    fn depart(&mut self, to: usize, bytes: usize) -> f64 {
        let world = &self.clock.world;
        let leaves = self.clock.now().max(self.up_free);
        self.up_free = leaves + world.transfer(bytes as u64);
        let (count, latest) = &mut self.sent[to];
        let delay = world.delay(&mut world.message(self.inner.rank(), to, *count));
        *count += 1;
        // Messages of a link arrive in order: none overtakes one that had to be sent again.
        *latest = latest.max(leaves + delay);
        *latest
    }
}

impl<P: Port> Port for SimPort<P> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        if !tag.purpose.is_training() {
            return self.inner.send(to, tag, bytes);
        }
        let first = self.depart(to, bytes.len());
        self.out.clear();
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(&first.to_le_bytes());
        self.inner.send(to, tag, &self.out)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, tag, into)?;
        if !tag.purpose.is_training() {
            return Ok(());
        }
        let first = into.last_chunk().map(|stamp| f64::from_le_bytes(*stamp)).filter(|t| t.is_finite() && *t >= 0.0);
        let first = first.ok_or_else(|| {
            Error::decode(format!("a message from rank {from} carries no time; both ends must be in the simulation"))
        })?;
        into.truncate(into.len() - size_of::<f64>());
        let done = self.down.carry(first, self.clock.world.transfer(into.len() as u64));
        self.clock.moved(|now| now.max(done));
        Ok(())
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.inner.meter()
    }
}

/// `size` ranks in one process and in one world, each port with its rank's clock.
pub fn simulate(size: usize, world: &World) -> Vec<(SimPort<ThreadPort>, Arc<SimClock>)> {
    let join = |port| {
        let clock = Arc::new(SimClock::new(world, size));
        (SimPort::new(port, clock.clone()), clock)
    };
    connect(size).into_iter().map(join).collect()
}

#[cfg(test)]
mod tests;
