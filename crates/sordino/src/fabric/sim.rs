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
//! and its time is a function of stamps, of the rank's own past and of keyed draws; `receive_any` names peers that will
//! all speak whatever this rank does, waits for all their words and takes the earliest. Hence clocks are the same whatever
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
//! No lookahead and no null messages: who listens to several peers waits for all of them. A message is lost whole, costs
//! its timeout and does not occupy its link twice. A rank's messages share its down link in the order in which it asks for
//! them.

mod line;
mod world;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use world::World;

use self::line::Line;
use super::held::{Held, Word};
use super::{Clock, Medium, Meter, Port, Slow, Tag, ThreadPort, Trip, connect};
use crate::base::{Error, Former, Result, State};
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

    fn worked(&self, client: u64, round: u64, steps: Range<u64>, _: f64) {
        let mut seconds = (steps.end - steps.start) as f64 * self.world.pace(client, round);
        if steps.start == 0 && self.world.crashes(client, round) {
            seconds += self.world.restart;
        }
        self.advance(seconds);
    }

    fn laboured(&self, worker: u64, step: u64, fraction: f64, _: f64) {
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
    /// Words that are here and were not asked for yet, with the time at which their first byte is there.
    held: Held,
}

impl<P: Port> SimPort<P> {
    /// Sends through `inner` in the time of `clock`, which belongs to this rank alone.
    pub fn new(inner: P, clock: Arc<SimClock>) -> Self {
        let sent = vec![(0, 0.0); inner.size()];
        Self { inner, clock, up_free: 0.0, down: Line::default(), sent, out: Vec::new(), held: Held::default() }
    }

    /// Takes the next word of a rank off the inner port and holds it, with its time; `spare` lends its memory.
    fn fetch(&mut self, from: usize, tag: &Tag, spare: &mut Vec<u8>) -> Result<()> {
        let mut bytes = std::mem::take(spare);
        self.inner.receive(from, tag, &mut bytes)?;
        let mut at = 0.0;
        if tag.purpose.is_training() {
            let stamp = bytes.last_chunk().map(|stamp| f64::from_le_bytes(*stamp));
            at = stamp.filter(|t| t.is_finite() && *t >= 0.0).ok_or_else(|| {
                Error::decode(format!(
                    "a message from rank {from} carries no time; both ends must be in the simulation"
                ))
            })?;
            bytes.truncate(bytes.len() - size_of::<f64>());
        }
        self.held.push(Word { from, at, bytes });
        Ok(())
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
        if self.held.of(from) == 0 {
            self.fetch(from, tag, into)?;
        }
        let Some(word) = self.held.take(from) else { return Ok(()) };
        *into = word.bytes;
        if tag.purpose.is_training() {
            let done = self.down.carry(word.at, self.clock.world.transfer(into.len() as u64));
            self.clock.moved(|now| now.max(done));
        }
        Ok(())
    }

    /// The earliest in virtual time: everybody's word is waited for, since each is about to come whatever we do.
    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        self.hold(from, std::slice::from_ref(tag))?;
        let first = self.held.first(from, true).ok_or_else(|| Error::request("nobody is listened to"))?;
        self.receive(first, tag, into).map(|()| first)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        let mut spare = Vec::new();
        for peer in from {
            for tag in &tags[self.held.of(*peer).min(tags.len())..] {
                self.fetch(*peer, tag, &mut spare)?;
            }
        }
        Ok(())
    }

    fn save(&self, state: &mut State) {
        let mut times = vec![self.clock.now().to_bits(), self.up_free.to_bits()];
        times.extend(self.sent.iter().flat_map(|(count, latest)| [*count, latest.to_bits()]));
        times.extend(self.down.busy.iter().flat_map(|(from, to)| [from.to_bits(), to.to_bits()]));
        state.put_numbers("times", &times);
        self.inner.save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        // A run that began on threads has no times to tell.
        if let Some(times) = state.numbers.get("times") {
            let pairs: Vec<[u64; 2]> = times.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
            let [[now, up_free], rest @ ..] = &pairs[..] else { return self.inner.load(state) };
            let now = f64::from_bits(*now);
            self.clock.moved(|_| now);
            self.up_free = f64::from_bits(*up_free);
            let (sent, busy) = rest.split_at(self.sent.len().min(rest.len()));
            for (mine, [count, latest]) in self.sent.iter_mut().zip(sent) {
                *mine = (*count, f64::from_bits(*latest));
            }
            self.down.busy = busy.iter().map(|pair| (f64::from_bits(pair[0]), f64::from_bits(pair[1]))).collect();
        }
        self.inner.load(state)
    }

    fn save_held(&self, state: &mut State) {
        self.held.save(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        self.held.load(state)
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.inner.meter()
    }
}

/// What the port of every rank takes back of a run with another number of ranks: all begin when the last one came to the
/// checkpoint, over links that carry nothing, and what is drawn for a message was drawn for none before.
pub fn together(former: &Former, size: usize) -> Result<State> {
    let (mut now, mut most, ranks) = (None::<f64>, 0, former.each().count());
    for times in former.each().filter_map(|theirs| theirs.numbers.get("times").cloned()) {
        let mut pairs = times.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let (clock, _) = pairs.next().ok_or_else(|| Error::mismatch("a checkpoint's port tells no time"))?;
        now = Some(now.unwrap_or(0.0).max(f64::from_bits(clock)));
        most = pairs.take(ranks).map(|(count, _)| count).max().unwrap_or(0).max(most);
    }
    let mut state = State::default();
    if let Some(now) = now.map(f64::to_bits) {
        let mut times = vec![now, now];
        times.extend(std::iter::repeat_n([most, now], size).flatten());
        state.put_numbers("times", &times);
    }
    Ok(state)
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
