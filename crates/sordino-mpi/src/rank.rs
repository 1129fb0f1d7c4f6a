//! One rank of a job: words go out and come in by calls that do not block, and every wait has a deadline.

use std::collections::VecDeque;
use std::os::raw::c_int;
use std::time::{Duration, Instant};

use sordino::base::{Error, Kind, Result};
use sordino::fabric::held::{Held, Word};

use crate::raw::{Flight, World};
use crate::watch::{Turn, Watch};

/// What a message of MPI is. All go by one communicator, so those of one rank are heard in the order in which they were
/// sent, whatever they are.
mod kind {
    use super::c_int;

    /// A word, or the last piece of one.
    pub const WORD: c_int = 0;
    /// A piece of a word, with more to come.
    pub const PIECE: c_int = 1;
    /// Are you there? The question's number.
    pub const ASK: c_int = 2;
    /// I am: the question's number, and for whom this rank waits.
    pub const ANSWER: c_int = 3;
    /// The job is given up: the error.
    pub const VERDICT: c_int = 4;
    /// This rank says nothing more: how many collectives it took part in.
    pub const LEAVE: c_int = 5;
}

/// The most bytes that one message of MPI carries here; its own counts end at 2³¹.
pub const PIECE: usize = 1 << 30;

/// How long a rank that has given up stays to tell the others.
const FAREWELL: Duration = Duration::from_millis(100);

/// How often a sum is asked for before this rank looks at what else has come.
const AT_ONCE: usize = 200;

/// A message on its way in.
struct Coming {
    from: usize,
    kind: c_int,
    flight: Flight<u8>,
}

/// What a port holds and does.
pub struct Rank {
    world: Option<World>,
    /// This rank.
    pub own: usize,
    /// How many there are.
    pub size: usize,
    patience: Duration,
    /// The most bytes of one message.
    pub piece: usize,
    going: Vec<(usize, Flight<u8>)>,
    /// In the order in which they were found.
    coming: VecDeque<Coming>,
    /// The pieces of every rank's word that is not whole yet.
    pieces: Vec<Vec<u8>>,
    /// Words that are here and were not asked for.
    pub held: Held,
    /// How many collectives those took part in that have left.
    left: Vec<Option<u64>>,
    /// Spent buffers, so that memory goes round in circles.
    spare: Vec<Vec<u8>>,
    /// For whom this rank waits.
    awaited: Vec<usize>,
    watch: Option<Watch>,
    /// The number of the next question.
    question: u64,
    /// How many sums were begun, the memory of one, and whether one is on its way.
    collectives: u64,
    room: Vec<f32>,
    summing: bool,
    /// Why the job is given up.
    verdict: Option<Error>,
    /// Whether others are left to find that out by themselves.
    quiet: bool,
}

impl Rank {
    /// A rank of the job that this process was started in.
    pub fn new(patience: Duration) -> Result<Self> {
        let world = World::open()?;
        let (own, size) = world.place();
        Ok(Self {
            world: Some(world),
            own,
            size,
            patience,
            piece: PIECE,
            going: Vec::new(),
            coming: VecDeque::new(),
            pieces: vec![Vec::new(); size],
            held: Held::default(),
            left: vec![None; size],
            spare: Vec::new(),
            awaited: Vec::new(),
            watch: None,
            question: 0,
            collectives: 0,
            room: Vec::new(),
            summing: false,
            verdict: None,
            quiet: false,
        })
    }

    /// Waits until everybody has come to the end and every word is where it goes, then ends MPI. After a wait in vain MPI
    /// is not ended, since that would wait for the rank that is not there.
    pub fn leave(&mut self) -> Result<()> {
        if self.world.is_none() || self.verdict.is_some() {
            self.world = None;
            return self.verdict.clone().map_or(Ok(()), Err);
        }
        self.say_goodbye()?;
        let left = self.wait(|me| {
            me.awaited = me.others().filter(|rank| me.left[*rank].is_none()).collect();
            me.awaited.extend(me.going.iter().map(|(to, _)| *to));
            Ok(me.awaited.is_empty().then_some(()))
        });
        let world = self.world.take();
        left?;
        if let Some(world) = world {
            world.close();
        }
        Ok(())
    }

    /// Tells everybody that this rank says nothing more.
    fn say_goodbye(&mut self) -> Result<()> {
        let collectives = self.collectives;
        self.others().try_for_each(|to| self.post(to, kind::LEAVE, &collectives.to_le_bytes()))
    }

    /// Leaves at once, and stays a moment to see that it is heard.
    pub fn break_off(&mut self, moment: Duration) {
        if self.verdict.is_none() {
            // Who cannot be told is ended all the same.
            let _ = self.say_goodbye();
        }
        self.linger(moment);
    }

    fn linger(&mut self, moment: Duration) {
        let until = Instant::now() + moment;
        while Instant::now() < until {
            // What cannot go on any more is not needed any more.
            let _ = self.progress();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let rank = self.own;
        (0..self.size).filter(move |other| *other != rank)
    }

    fn world(&self) -> Result<&World> {
        self.world.as_ref().ok_or_else(|| Error::request("this port is finished"))
    }

    /// Refuses a rank that is none or this one.
    fn reach(&self, rank: usize) -> Result<()> {
        match rank {
            _ if rank == self.own => Err(Error::request("a rank does not talk to itself")),
            _ if rank < self.size => Ok(()),
            _ => Err(Error::request(format!("there is no rank {rank} among {}", self.size))),
        }
    }

    /// Puts a message on its way.
    fn post(&mut self, to: usize, kind: c_int, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let flight = self.world()?.send(to, kind, buffer)?;
        self.going.push((to, flight));
        Ok(())
    }

    fn keep(&mut self, spent: Vec<u8>) {
        if self.spare.len() < 2 * self.size {
            self.spare.push(spent);
        }
    }

    /// Moves on what is on its way, takes in what has come, and answers for this rank. Whether anything happened.
    fn progress(&mut self) -> Result<bool> {
        let mut moved = false;
        let mut at = 0;
        while at < self.going.len() {
            let world = self.world.as_ref().ok_or_else(|| Error::request("this port is finished"))?;
            match world.land(&mut self.going[at].1)? {
                Some((spent, _)) => {
                    self.going.swap_remove(at);
                    self.keep(spent);
                    moved = true;
                }
                None => at += 1,
            }
        }
        while let Some(found) = self.world()?.probe()? {
            let (from, kind, buffer) = (found.from, found.tag, self.spare.pop().unwrap_or_default());
            let flight = self.world()?.receive(found, buffer)?;
            self.coming.push_back(Coming { from, kind, flight });
            moved = true;
        }
        // One that is not here yet holds back those that the same rank sent after it.
        let (mut at, mut behind) = (0, vec![false; self.size]);
        while at < self.coming.len() {
            let world = self.world.as_ref().ok_or_else(|| Error::request("this port is finished"))?;
            let coming = &mut self.coming[at];
            let (from, kind) = (coming.from, coming.kind);
            let here = if behind[from] { None } else { world.land(&mut coming.flight)? };
            if let Some((bytes, _)) = here {
                self.coming.remove(at);
                self.take_in(from, kind, bytes)?;
                moved = true;
            } else {
                behind[from] = true;
                at += 1;
            }
        }
        Ok(moved)
    }

    fn take_in(&mut self, from: usize, kind: c_int, bytes: Vec<u8>) -> Result<()> {
        let number = || {
            let eight = bytes.first_chunk().ok_or_else(|| Error::decode(format!("rank {from} sent no number")))?;
            Ok::<u64, Error>(u64::from_le_bytes(*eight))
        };
        match kind {
            kind::WORD if self.pieces[from].is_empty() => {
                self.held.push(Word { from, at: 0.0, bytes });
                return Ok(());
            }
            kind::WORD => {
                let mut whole = std::mem::take(&mut self.pieces[from]);
                whole.extend_from_slice(&bytes);
                self.held.push(Word { from, at: 0.0, bytes: whole });
            }
            kind::PIECE => self.pieces[from].extend_from_slice(&bytes),
            kind::ASK => {
                let mut answer = number()?.to_le_bytes().to_vec();
                answer.extend(self.awaited.iter().flat_map(|rank| (*rank as u64).to_le_bytes()));
                self.post(from, kind::ANSWER, &answer)?;
            }
            kind::ANSWER => {
                let question = number()?;
                let awaits = bytes.chunks_exact(8).skip(1).filter_map(|eight| eight.first_chunk());
                let awaits = awaits.map(|eight| u64::from_le_bytes(*eight) as usize).collect();
                if let Some(watch) = &mut self.watch {
                    watch.answered(from, question, awaits);
                }
            }
            kind::VERDICT => {
                let verdict = Error::new(Kind::Timeout, String::from_utf8_lossy(&bytes));
                self.verdict.get_or_insert(verdict);
            }
            kind::LEAVE => self.left[from] = Some(number()?),
            _ => return Err(Error::decode(format!("rank {from} sent a message of the unknown kind {kind}"))),
        }
        self.keep(bytes);
        Ok(())
    }

    /// Waits until `ready` has something, which may say anew for whom this rank waits.
    fn wait<T>(&mut self, mut ready: impl FnMut(&mut Self) -> Result<Option<T>>) -> Result<T> {
        self.watch = Some(Watch::new(Instant::now(), self.patience, self.size));
        let mut pause = Pause::default();
        let done = loop {
            match self.progress() {
                Ok(true) => pause = Pause::default(),
                Ok(false) => {}
                Err(e) => break Err(e),
            }
            match ready(self) {
                Ok(None) => {}
                Ok(Some(done)) => break Ok(done),
                Err(e) => break Err(e),
            }
            if let Err(e) = self.look() {
                break Err(e);
            }
            pause.rest(self.summing, self.summing || !self.going.is_empty() || !self.coming.is_empty());
        };
        self.watch = None;
        self.awaited.clear();
        done
    }

    /// Asks, or gives up, when it is time to.
    fn look(&mut self) -> Result<()> {
        if let Some(verdict) = &self.verdict {
            return Err(verdict.clone());
        }
        let Some(watch) = &mut self.watch else { return Ok(()) };
        let left = &self.left;
        match watch.turn(Instant::now(), self.own, &self.awaited, &|rank| left[rank].is_some(), self.question) {
            Turn::Wait => Ok(()),
            Turn::Ask(question, whom) => {
                self.question += 1;
                whom.into_iter().try_for_each(|to| self.post(to, kind::ASK, &question.to_le_bytes()))
            }
            Turn::Silent(silent, long) => {
                let (have, they) = if silent.len() == 1 { ("has", "it is") } else { ("have", "they are") };
                let sentence = format!(
                    "{} {have} not answered for {:.1} s: {they} stopped, or a local step takes longer than the timeout \
                     of {} s",
                    named(&silent),
                    long.as_secs_f64(),
                    self.patience.as_secs_f64()
                );
                Err(self.give_up(&silent, sentence))
            }
            Turn::Stuck(long) => {
                let sentence = format!(
                    "rank {} waited {:.0} s for {}: all ranks answer, and none says what another waits for",
                    self.own,
                    long.as_secs_f64(),
                    named(&self.awaited)
                );
                Err(self.give_up(&[], sentence))
            }
        }
    }

    /// Tells everybody who is there that the job is given up, and why.
    fn give_up(&mut self, silent: &[usize], sentence: String) -> Error {
        if !self.quiet {
            let there = self.others().filter(|rank| !silent.contains(rank) && self.left[*rank].is_none());
            for to in there.collect::<Vec<_>>() {
                // Who cannot be told finds out by itself.
                let _ = self.post(to, kind::VERDICT, sentence.as_bytes());
            }
            self.linger(FAREWELL.min(self.patience / 20));
        }
        self.verdict.get_or_insert_with(|| Error::new(Kind::Timeout, sentence)).clone()
    }

    fn gone(&self, peer: usize) -> Error {
        Error::new(
            Kind::Timeout,
            format!("rank {peer} has left while rank {} was talking to it; its own error says why", self.own),
        )
    }

    /// Waits for a word of one of `from`, and says whose it is.
    fn listen(&mut self, from: &[usize]) -> Result<usize> {
        from.iter().try_for_each(|rank| self.reach(*rank))?;
        if let Some(first) = self.held.first(from, false) {
            return Ok(first);
        }
        self.awaited = from.to_vec();
        self.wait(|me| {
            if let Some(first) = me.held.first(from, false) {
                return Ok(Some(first));
            }
            me.nobody_left(from).map(|()| None)
        })
    }

    fn nobody_left(&self, of: &[usize]) -> Result<()> {
        of.iter().find(|rank| self.left[**rank].is_some()).map_or(Ok(()), |rank| Err(self.gone(*rank)))
    }

    /// One sum of everybody's vector, which is handed to MPI as it is; the sum comes in the memory of the one before.
    fn sum(&mut self, vector: &mut Vec<f32>) -> Result<()> {
        let len = vector.len();
        let sum = self.sum_of(std::mem::take(vector)).inspect_err(|_| {
            // MPI may still have the memory.
            vector.resize(len, 0.0);
        })?;
        *vector = sum;
        Ok(())
    }

    fn sum_of(&mut self, mine: Vec<f32>) -> Result<Vec<f32>> {
        let room = std::mem::take(&mut self.room);
        let mut flight = self.world()?.sum(mine, room)?;
        let turn = self.collectives;
        self.collectives += 1;
        self.awaited = self.others().collect();
        self.summing = true;
        let sum = self.wait(|me| {
            // Asking is what moves it on.
            for _ in 0..AT_ONCE {
                if let Some(sum) = me.world()?.land(&mut flight)? {
                    return Ok(Some(sum));
                }
            }
            // Who left after it took part owes nothing.
            let absent = me.others().find(|rank| me.left[*rank].is_some_and(|took| took <= turn));
            absent.map_or(Ok(None), |rank| Err(me.gone(rank)))
        });
        self.summing = false;
        let (sum, mine) = sum?;
        self.room = mine;
        Ok(sum)
    }

    /// Sends a word.
    pub fn send(&mut self, to: usize, bytes: &[u8]) -> Result<()> {
        self.reach(to)?;
        self.progress()?;
        if let Some(verdict) = &self.verdict {
            return Err(verdict.clone());
        }
        self.nobody_left(&[to])?;
        let last = bytes.len().saturating_sub(1) / self.piece * self.piece;
        for piece in bytes[..last].chunks(self.piece) {
            self.post(to, kind::PIECE, piece)?;
        }
        self.post(to, kind::WORD, &bytes[last..])
    }

    /// Hears whoever of `from` is first.
    pub fn receive_any(&mut self, from: &[usize], into: &mut Vec<u8>) -> Result<usize> {
        let first = self.listen(from)?;
        if let Some(word) = self.held.take(first) {
            let spent = std::mem::replace(into, word.bytes);
            self.keep(spent);
        }
        Ok(first)
    }

    /// Waits until so many words of each of `from` are here.
    pub fn hold(&mut self, from: &[usize], words: usize) -> Result<()> {
        from.iter().try_for_each(|rank| self.reach(*rank))?;
        self.wait(|me| {
            me.awaited = from.iter().copied().filter(|rank| me.held.of(*rank) < words).collect();
            me.nobody_left(&me.awaited)?;
            Ok(me.awaited.is_empty().then_some(()))
        })
    }

    /// Whether the next words of all of `from` are here; moves on what is on its way.
    pub fn here(&mut self, from: &[usize]) -> Result<bool> {
        from.iter().try_for_each(|rank| self.reach(*rank))?;
        self.progress()?;
        Ok(from.iter().all(|rank| self.held.of(*rank) > 0))
    }

    /// Overwrites everybody's vector with the sum of all.
    pub fn all_reduce(&mut self, vector: &mut Vec<f32>) -> Result<()> {
        if self.size == 1 {
            return Ok(());
        }
        if vector.len() <= PIECE / 4 {
            return self.sum(vector);
        }
        let mut room = Vec::new();
        vector.chunks_mut(PIECE / 4).try_for_each(|part| {
            room.clear();
            room.extend_from_slice(part);
            self.sum(&mut room)?;
            part.copy_from_slice(&room);
            Ok(())
        })
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // Whoever drops a port has an error of its own to tell, or nothing to ask.
        self.quiet = true;
        let _ = self.leave();
    }
}

fn named(ranks: &[usize]) -> String {
    let all: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("{} {}", if all.len() == 1 { "rank" } else { "ranks" }, all.join(", "))
}

/// How a wait gives way: at once at first, since most words are nearly there, then longer and longer, since ranks may share
/// a core with whom they wait for.
#[derive(Default)]
struct Pause {
    turns: u32,
}

impl Pause {
    /// While messages are on their way they are moved on more often. A sum of MPI's has many steps, each of which begins when it is
    /// asked about: for some tenths of a second it is asked again at once, as MPI's own waiting does.
    fn rest(&mut self, summing: bool, busy: bool) {
        let at_once = if summing { 1000 } else { 100 };
        self.turns = self.turns.saturating_add(1);
        if self.turns <= at_once {
            std::thread::yield_now();
            return;
        }
        let longest = if busy { 100 } else { 1000 };
        let micros = 50 << ((self.turns - at_once) / 8).min(5);
        std::thread::sleep(Duration::from_micros(longest.min(micros)));
    }
}
