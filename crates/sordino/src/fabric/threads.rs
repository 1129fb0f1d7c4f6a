//! Threads: ranks in one process. The only file below the wall that knows threads.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::held::{Held, Word};
use super::{Medium, Port, Slow, Tag};
use crate::base::{Error, Kind, Result, State, simd};
use crate::grammar::{Args, Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Medium> = Entry {
    name: "threads",
    about: "ranks of one process, as fast as they can",
    keys: &[
        Key { name: "slow", default: "0", about: "how many clients, the last ones, are really slowed down" },
        Key { name: "factor", default: "5", about: "how many times as long a slow client's steps take, at least 1" },
    ],
    build: |args| slow(args).map(Medium::Threads),
};

fn slow(args: &Args) -> Result<Slow> {
    let slow = Slow::from_args(args)?;
    if !(1.0..f64::INFINITY).contains(&slow.factor) {
        return Err(Error::request(format!(
            "`factor` of `threads` must be a finite number of at least 1, but {} came: a thread can be made to wait and not to hurry; \
             fabric=sim has clients that are faster",
            slow.factor
        )));
    }
    Ok(slow)
}

/// How long a rank waits for a word before it gives its peer up.
const PATIENCE: Duration = Duration::from_mins(10);

/// What lies in a rank's letter box: a word, or that a rank has left.
type Letter = (usize, Option<Vec<u8>>);

/// One rank's end of the threads fabric: a letter box for all peers.
pub struct ThreadPort {
    rank: usize,
    to: Vec<Option<Sender<Letter>>>,
    letters: Receiver<Letter>,
    /// What was in the box and has not been asked for, and who has left.
    held: Held,
    left: Vec<bool>,
    /// Spent buffers come back to their sender, so that memory goes round in circles.
    give_back: Vec<Option<Sender<Vec<u8>>>>,
    spare: Vec<Option<Receiver<Vec<u8>>>>,
    patience: Duration,
}

/// Connects `size` ranks with one another.
pub fn connect(size: usize) -> Vec<ThreadPort> {
    let (boxes, letters): (Vec<_>, Vec<_>) = (0..size).map(|_| channel()).unzip();
    let port = |(rank, letters): (usize, Receiver<Letter>)| ThreadPort {
        rank,
        to: boxes.iter().enumerate().map(|(to, letters)| (to != rank).then(|| letters.clone())).collect(),
        letters,
        held: Held::default(),
        left: vec![false; size],
        give_back: (0..size).map(|_| None).collect(),
        spare: (0..size).map(|_| None).collect(),
        patience: PATIENCE,
    };
    let mut ports: Vec<ThreadPort> = letters.into_iter().enumerate().map(port).collect();
    for a in 0..size {
        for b in (0..size).filter(|b| *b != a) {
            let (spent, spare) = channel();
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

    fn take_in(&mut self, (from, word): Letter) {
        match word {
            Some(bytes) => self.held.push(Word { from, at: 0.0, bytes }),
            None => self.left[from] = true,
        }
    }

    /// Waits for a letter, whoever it is from; `whom` says who is waited for.
    fn wait(&mut self, whom: &dyn Fn() -> String) -> Result<()> {
        match self.letters.recv_timeout(self.patience) {
            Ok(letter) => self.take_in(letter),
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::new(
                    Kind::Timeout,
                    format!("rank {} waited {:?} for a word from {}", self.rank, self.patience, whom()),
                ));
            }
            Err(RecvTimeoutError::Disconnected) => self.left.fill(true),
        }
        Ok(())
    }
}

impl Drop for ThreadPort {
    fn drop(&mut self) {
        for to in self.to.iter().flatten() {
            // Who has left before does not mind.
            let _ = to.send((self.rank, None));
        }
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
        sender.send((self.rank, Some(buffer))).map_err(|_| self.gone(to))
    }

    fn receive(&mut self, from: usize, _: &Tag, into: &mut Vec<u8>) -> Result<()> {
        if from == self.rank {
            return Err(Error::request("a rank does not listen to itself"));
        }
        loop {
            if let Some(word) = self.held.take(from) {
                let spent = std::mem::replace(into, word.bytes);
                if let Some(back) = &self.give_back[from] {
                    // A sender that has left needs no buffers.
                    let _ = back.send(spent);
                }
                return Ok(());
            }
            if self.left[from] {
                return Err(self.gone(from));
            }
            self.wait(&|| format!("rank {from}"))?;
        }
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        loop {
            if let Some(first) = self.held.first(from, false) {
                return self.receive(first, tag, into).map(|()| first);
            }
            if let Some(peer) = from.iter().find(|peer| self.left[**peer]) {
                return Err(self.gone(*peer));
            }
            self.wait(&|| format!("any of ranks {from:?}"))?;
        }
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        for peer in from {
            while self.held.of(*peer) < tags.len() {
                if self.left[*peer] {
                    return Err(self.gone(*peer));
                }
                self.wait(&|| format!("rank {peer}"))?;
            }
        }
        Ok(())
    }

    fn here(&mut self, from: &[usize], _: &Tag) -> Result<bool> {
        while let Ok(letter) = self.letters.try_recv() {
            self.take_in(letter);
        }
        Ok(from.iter().all(|peer| self.held.of(*peer) > 0))
    }

    fn save_held(&self, state: &mut State) {
        self.held.save(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        self.held.load(state)
    }
}

/// Runs both and returns when both are done: the second on a thread of its own meanwhile, or, where there is none to be had,
/// afterwards.
pub fn at_once(first: &mut (dyn FnMut() + Send), second: &mut (dyn FnMut() + Send)) {
    let (mut done, most) = (false, simd::most());
    std::thread::scope(|scope| {
        let helper = std::thread::Builder::new().name("second hand".into()).spawn_scoped(scope, || {
            simd::narrowed(most, &mut *second);
            done = true;
        });
        first();
        drop(helper);
    });
    if !done {
        second();
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
