//! Parting: ranks that are processes tell one another when they leave, and why.
//!
//! Threads of one process hear of it when a port is dropped, and share what they find. Between processes it takes words: a
//! rank that fails tells all others, whoever waits for it has its error instead of a time-out, and ranks that go on to another
//! run leave nothing of the last one on its way.

use super::{Meter, Port, Tag, peers};
use crate::base::{Error, Kind, Purpose, Result, State};

/// How the word of a rank that leaves before the end begins. No frame begins like it.
const LEFT: &[u8] = b"\0sordino: left\0";
/// The last word of a run.
const END: &[u8] = b"\0sordino: end\0";
/// Kinds of errors, by the number that stands for them.
const KINDS: [Kind; 7] =
    [Kind::Request, Kind::Data, Kind::Decode, Kind::Mismatch, Kind::Timeout, Kind::Diverged, Kind::System];

/// A port that understands when another rank says that it leaves.
#[derive(Clone)]
pub struct Parting<P> {
    inner: P,
}

impl<P: Port> Parting<P> {
    /// Listens through `inner` for ranks that leave.
    pub fn new(inner: P) -> Self {
        Self { inner }
    }

    /// Tells all others that this rank leaves before the end, and why.
    pub fn leave(&mut self, why: &Error) {
        let tag = Tag::across(Purpose::Control);
        let kind = KINDS.iter().position(|kind| *kind == why.kind()).unwrap_or(KINDS.len() - 1);
        let word = [LEFT, &[kind as u8], why.to_string().as_bytes()].concat();
        for to in peers(&self.inner) {
            // Who has gone need not be told.
            let _ = self.inner.send(to, &tag, &word);
        }
    }

    /// Ends a run after which there may be another: what others have said in it and nobody asked for is forgotten.
    pub fn end(&mut self) -> Result<()> {
        let tag = Tag::across(Purpose::Control);
        for to in peers(&self.inner) {
            self.inner.send(to, &tag, END)?;
        }
        let mut word = Vec::new();
        for from in peers(&self.inner) {
            while word != END {
                self.inner.receive(from, &tag, &mut word)?;
            }
            word.clear();
        }
        Ok(())
    }

    /// An error, if a word says that its rank has left.
    fn heard(from: usize, word: &[u8]) -> Result<()> {
        if word == END {
            return Err(Error::new(Kind::Timeout, format!("rank {from} has come to its end while others had not")));
        }
        let Some([kind, why @ ..]) = word.strip_prefix(LEFT) else { return Ok(()) };
        let kind = KINDS.get(usize::from(*kind)).copied().unwrap_or(Kind::System);
        let why = String::from_utf8_lossy(why);
        // What went around among the ranks is told as it was told first.
        let known = why.starts_with("rank ") && why.contains(" has left: ");
        Err(Error::new(kind, if known { why.into_owned() } else { format!("rank {from} has left: {why}") }))
    }
}

impl<P: Port> Port for Parting<P> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.inner.send(to, tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, tag, into)?;
        Self::heard(from, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        let first = self.inner.receive_any(from, tag, into)?;
        Self::heard(first, into).map(|()| first)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.inner.hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.inner.here(from, tag)
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        self.inner.all_reduce(tag, vector)
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

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        self.inner.count(tag, bytes);
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.inner.meter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{connect, on_threads};

    #[test]
    fn whoever_waits_hears_why_and_the_next_run_begins_with_nothing_left_over() {
        let told = on_threads(connect(3), |port| {
            let mut port = Parting::new(port);
            let (tag, rank, mut into) = (Tag::across(Purpose::Control), port.rank(), Vec::new());
            // In the first run rank 2 diverges while 1 waits for it and 0 for 1; 0 has said something that nobody hears.
            let found = match rank {
                2 => Err(Error::new(Kind::Diverged, "not finite")),
                1 => port.receive(2, &tag, &mut into),
                _ => port.send(1, &tag, b"unheard").and_then(|()| port.receive(1, &tag, &mut into)),
            };
            let why = found.unwrap_err();
            port.leave(&why);
            port.end()?;
            // The second run goes as if there had been no first.
            port.send((rank + 1) % 3, &tag, &[rank as u8])?;
            port.receive((rank + 2) % 3, &tag, &mut into)?;
            assert_eq!(into, [((rank + 2) % 3) as u8]);
            port.end()?;
            Ok((why.kind(), why.to_string()))
        });
        let told = told.unwrap();
        assert!(told.iter().all(|(kind, _)| *kind == Kind::Diverged), "{told:?}");
        assert_eq!(told[0].1, "rank 2 has left: not finite");
        assert_eq!((&*told[1].1, &*told[2].1), ("rank 2 has left: not finite", "not finite"));
    }

    #[test]
    fn a_rank_that_ends_early_is_not_taken_for_one_that_speaks() {
        let told = on_threads(connect(2), |port| {
            let mut port = Parting::new(port);
            let mut into = Vec::new();
            if port.rank() == 0 {
                return Ok(port.receive(1, &Tag::across(Purpose::Control), &mut into).unwrap_err().to_string());
            }
            let _ = port.end();
            Ok(String::new())
        });
        assert!(told.unwrap()[0].contains("rank 1 has come to its end"));
    }
}
