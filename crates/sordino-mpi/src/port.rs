//! The port: handles of the one rank that a process is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sordino::base::{Error, Result, State};
use sordino::fabric::{Port, Tag};

use crate::rank::{PIECE, Rank};
use crate::raw::{LAST_WORDS, end};

/// Makes this process a rank of the MPI job it was started in, alone if it was started by itself. `patience` is how long a
/// wait may take before whoever is not there is given up.
pub fn join(patience: Duration) -> Result<MpiPort> {
    if patience.is_zero() {
        return Err(Error::request("a rank that waits for nobody hears nobody: the timeout must be above 0"));
    }
    let state = Rank::new(patience)?;
    Ok(MpiPort { rank: state.own, size: state.size, state: Arc::new(Mutex::new(state)) })
}

/// One rank's end of the fabric over MPI. Clones are the same port, for whoever gives one away and wants to end it; they
/// belong to one thread at a time, so nobody waits for the lock.
///
/// # Contract
/// A [`Port`]: words of one rank arrive in their order, whole and once, of any length. `send` never waits: a word is copied
/// and is on its way; what is on its way moves on in every later call. Whoever waits answers for itself meanwhile. A wait
/// that ends at its deadline is of `Kind::Timeout` and names who did not answer; all ranks end with the same sentence, and
/// the port says it from then on. There is one port a process.
///
/// `finish` ends MPI once everybody has come to it. Dropping the last handle does the same and says nothing. `abort` is for
/// errors, after they are told.
#[derive(Clone)]
pub struct MpiPort {
    state: Arc<Mutex<Rank>>,
    rank: usize,
    size: usize,
}

impl MpiPort {
    fn lock(&self) -> MutexGuard<'_, Rank> {
        // What a panic breaks off is on its way or not; nothing is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same port, which cuts words into messages of at most so many bytes: at least one, at most a GiB.
    #[must_use]
    pub fn in_pieces_of(self, bytes: usize) -> Self {
        self.lock().piece = bytes.clamp(1, PIECE);
        self
    }

    /// Waits until everybody has come to the end and every word is where it goes, then ends MPI.
    pub fn finish(self) -> Result<()> {
        self.lock().leave()
    }

    /// Ends the whole job with this exit status after an error of this rank: whoever waits for it hears that it has left,
    /// and has a moment to say so.
    pub fn abort(self, code: i32) -> ! {
        self.lock().break_off(LAST_WORDS);
        end(code)
    }
}

impl Port for MpiPort {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, _: &Tag, bytes: &[u8]) -> Result<()> {
        self.lock().send(to, bytes)
    }

    fn receive(&mut self, from: usize, _: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.lock().receive_any(&[from], into).map(|_| ())
    }

    fn receive_any(&mut self, from: &[usize], _: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        self.lock().receive_any(from, into)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.lock().hold(from, tags.len())
    }

    fn here(&mut self, from: &[usize], _: &Tag) -> Result<bool> {
        self.lock().here(from)
    }

    fn all_reduce(&mut self, _: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        self.lock().all_reduce(vector)
    }

    fn save_held(&self, state: &mut State) {
        self.lock().held.save(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        self.lock().held.load(state)
    }
}
