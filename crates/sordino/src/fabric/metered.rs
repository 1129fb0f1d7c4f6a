//! Metered: counts every byte where it moves, and the time spent waiting for words.

use std::sync::Arc;

use super::{Clock, Port, Tag};
use crate::base::{Ledger, Link, Result, State};

/// What a metered port has seen.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Bytes that this rank sent (or that the server it hosts sent), by link and purpose.
    pub ledger: Ledger,
    /// Seconds from asking for a word of training to having it.
    pub wait: f64,
}

/// A port that counts.
///
/// Of an engine's own all-reduce nobody sees the messages. Counted is what this rank would send in a ring, to its
/// successor: 2(N − 1)/N of the vector, the least that any algorithm needs.
pub struct Metered<P> {
    inner: P,
    clock: Arc<dyn Clock>,
    meter: Meter,
}

impl<P: Port> Metered<P> {
    /// Counts what goes through `inner`, timed by `clock`.
    pub fn new(inner: P, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, meter: Meter::default() }
    }
}

impl<P: Port> Port for Metered<P> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.inner.send(to, tag, bytes)?;
        let (from, to) = tag.parties(self.inner.rank(), to);
        self.meter.ledger.count(&Link { from, to, purpose: tag.purpose.clone() }, bytes.len() as u64);
        Ok(())
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        let asked = self.clock.now();
        let received = self.inner.receive(from, tag, into);
        if tag.purpose.is_training() {
            self.meter.wait += self.clock.now() - asked;
        }
        received
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        let asked = self.clock.now();
        let received = self.inner.receive_any(from, tag, into);
        if tag.purpose.is_training() {
            self.meter.wait += self.clock.now() - asked;
        }
        received
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.inner.hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.inner.here(from, tag)
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        let asked = self.clock.now();
        self.inner.all_reduce(tag, vector)?;
        if tag.purpose.is_training() {
            self.meter.wait += self.clock.now() - asked;
        }
        let (rank, size) = (self.inner.rank(), self.inner.size());
        let (from, to) = tag.parties(rank, (rank + 1) % size);
        let link = Link { from, to, purpose: tag.purpose.clone() };
        // Chunks go around twice, to be added up and to be told; each time all pass a rank but the one that ends here.
        for last in [rank + 1, rank + 2] {
            for chunk in (0..size).filter(|chunk| *chunk != last % size) {
                let entries = vector.len() * (chunk + 1) / size - vector.len() * chunk / size;
                self.meter.ledger.count(&link, 4 * entries as u64);
            }
        }
        Ok(())
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
        Some(&mut self.meter)
    }
}
