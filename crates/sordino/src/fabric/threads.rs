//! Threads: ranks in one process. The only file below the wall that knows threads.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{Medium, Port, Tag};
use crate::base::{Error, Kind, Result};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Medium> = Entry {
    name: "threads",
    about: "ranks of one process, as fast as they can",
    keys: &[],
    build: |_| Ok(Medium::Threads),
};

/// How long a rank waits for a word before it gives its peer up.
const PATIENCE: Duration = Duration::from_mins(10);

/// One rank's end of the threads fabric.
pub struct ThreadPort {
    rank: usize,
    to: Vec<Option<Sender<Vec<u8>>>>,
    from: Vec<Option<Receiver<Vec<u8>>>>,
    /// Spent buffers come back to their sender, so that memory goes round in circles.
    give_back: Vec<Option<Sender<Vec<u8>>>>,
    spare: Vec<Option<Receiver<Vec<u8>>>>,
    patience: Duration,
}

/// Connects `size` ranks with one another.
pub fn connect(size: usize) -> Vec<ThreadPort> {
    let empty = |rank| ThreadPort {
        rank,
        to: (0..size).map(|_| None).collect(),
        from: (0..size).map(|_| None).collect(),
        give_back: (0..size).map(|_| None).collect(),
        spare: (0..size).map(|_| None).collect(),
        patience: PATIENCE,
    };
    let mut ports: Vec<ThreadPort> = (0..size).map(empty).collect();
    for a in 0..size {
        for b in (0..size).filter(|b| *b != a) {
            let (words, heard) = channel();
            let (spent, spare) = channel();
            ports[a].to[b] = Some(words);
            ports[b].from[a] = Some(heard);
            ports[b].give_back[a] = Some(spent);
            ports[a].spare[b] = Some(spare);
        }
    }
    ports
}

impl ThreadPort {
    /// The same port with another patience.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn gone(&self, peer: usize) -> Error {
        Error::new(
            Kind::Timeout,
            format!("rank {peer} has left while rank {} was talking to it; its own error says why", self.rank),
        )
    }
}

impl Port for ThreadPort {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn send(&mut self, to: usize, _: &Tag, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.spare[to].as_ref().and_then(|spare| spare.try_recv().ok()).unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let sender = self.to[to].as_ref().ok_or_else(|| Error::request("a rank does not talk to itself"))?;
        sender.send(buffer).map_err(|_| self.gone(to))
    }

    fn receive(&mut self, from: usize, _: &Tag, into: &mut Vec<u8>) -> Result<()> {
        let receiver = self.from[from].as_ref().ok_or_else(|| Error::request("a rank does not listen to itself"))?;
        match receiver.recv_timeout(self.patience) {
            Ok(bytes) => {
                let spent = std::mem::replace(into, bytes);
                if let Some(back) = &self.give_back[from] {
                    // A sender that has left needs no buffers.
                    let _ = back.send(spent);
                }
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err(Error::new(
                Kind::Timeout,
                format!("rank {} waited {:?} for a word from rank {from}", self.rank, self.patience),
            )),
            Err(RecvTimeoutError::Disconnected) => Err(self.gone(from)),
        }
    }
}

/// Runs `work` once per port, each on its own thread, and returns the results in order.
///
/// The first error in rank order that is not a mere consequence (a peer that left) is returned.
pub fn on_threads<P: Send, T: Send>(ports: Vec<P>, work: impl Fn(P) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    let results: Vec<Result<T>> = std::thread::scope(|scope| {
        let handles: Vec<_> = ports
            .into_iter()
            .enumerate()
            .map(|(rank, port)| {
                std::thread::Builder::new()
                    .name(format!("rank {rank}"))
                    .stack_size(16 << 20)
                    .spawn_scoped(scope, move || work(port))
            })
            .collect();
        handles
            .into_iter()
            .enumerate()
            .map(|(rank, handle)| match handle {
                Ok(handle) => handle.join().unwrap_or_else(|_| {
                    Err(Error::new(Kind::System, format!("the thread of rank {rank} panicked; this is a defect")))
                }),
                Err(e) => Err(Error::new(Kind::System, format!("no thread for rank {rank}: {e}"))),
            })
            .collect()
    });
    let mut consequence = None;
    let mut done = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(e) if e.kind() == Kind::Timeout => consequence = consequence.or(Some(e)),
            Err(e) => return Err(e),
        }
    }
    consequence.map_or(Ok(done), Err)
}
