//! Faulty: a fabric that damages, drops or duplicates, replayable from its seed. For tests of everything above it.

use super::{Meter, Port, Tag};
use crate::base::{Result, State, Stream, Use};

/// What goes wrong, and how often (probability per message).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fault {
    /// A message never arrives.
    pub drop: f32,
    /// One bit of a message is flipped.
    pub flip: f32,
    /// A message arrives twice.
    pub repeat: f32,
    /// A message arrives without its last byte.
    pub truncate: f32,
}

/// A port that does harm to what it sends.
pub struct Faulty<P> {
    inner: P,
    fault: Fault,
    stream: Stream,
}

impl<P: Port> Faulty<P> {
    /// Sends through `inner` with faults drawn from `seed`.
    pub fn new(inner: P, fault: Fault, seed: u64) -> Self {
        let stream = Stream::new(seed, Use::Fault, inner.rank() as u64, 0);
        Self { inner, fault, stream }
    }
}

impl<P: Port> Port for Faulty<P> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        let mut happens = |chance: f32| self.stream.uniform() < chance;
        let (drop, flip) = (happens(self.fault.drop), happens(self.fault.flip));
        let (repeat, truncate) = (happens(self.fault.repeat), happens(self.fault.truncate));
        if drop {
            return Ok(());
        }
        let mut bytes = bytes.to_vec();
        if flip && !bytes.is_empty() {
            let bit = self.stream.below(8 * bytes.len() as u64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if truncate {
            bytes.pop();
        }
        for _ in 0..=usize::from(repeat) {
            self.inner.send(to, tag, &bytes)?;
        }
        Ok(())
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, tag, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        self.inner.receive_any(from, tag, into)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.inner.hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.inner.here(from, tag)
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.inner.load(state)
    }

    fn save_held(&self, state: &mut State) {
        self.inner.save_held(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        self.inner.load_held(state)
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.inner.meter()
    }
}
