//! Reduce: rank r adds up chunk r of everybody's vector in rank order and sends the result back.
//!
//! # What it does
//! Reduce-scatter, then all-gather, over a linear code.
//!
//! # The step
//! ```text
//! chunk r = entries ⌊dr/N⌋ .. ⌊d(r + 1)/N⌋ of the short vector
//! rank r:  s_r = aggregate(chunk r of ranks 0, 1, …, N − 1);   send s_r to all
//! agreed = lift(s₀ s₁ … s_{N−1})
//! by=engine:   agreed = lift(g/N · all-reduce of the short vectors),   g the aggregator's gain
//! ```
//! # Contract
//! Every rank has one voice. Needs a linear compressor and a linear aggregator; a code of two phases goes around twice. Every rank sends 2(N − 1)/N · 4d' bytes for a short vector of d'
//! entries (plus a frame a message), the volume of a ring. Addition is in rank order in f32 with one division, so
//! with `dense` the result equals `gather`'s bit for bit. A chunk of more than `piece` entries goes in pieces: each is added
//! up, and its sum sent back, while others travel.
//!
//! `by=engine` leaves the sum to the engine of the fabric (MPI's own collective) and divides once: equal to rounding, in
//! the engine's order, so outside the promise that all fabrics give the same bits. Only the payload goes by it; weights
//! do not. A fabric without an engine refuses it. Its bytes are counted as a ring's. A dense vector that nobody needs
//! afterwards is overwritten by that one call; what is not finite is found in the sum, by all ranks.
//!
//! # When it helps, when it hurts
//! What synchronous training uses. Its bytes do not grow with N; it cannot carry quantized or selected messages. The
//! engine's own collective knows the network's shape, and may take less time.
//!
//! # Reference
//! Thakur, Rabenseifner, Gropp: Optimization of collective communication operations in MPICH (2005).
//!
//! # Deviations from the paper
//! Direct sends instead of a ring: the same volume in two latencies, and a fixed order of addition.

mod engine;

use std::ops::Range;

use super::{Exchange, Frame, InPlace, PIECE, Talk, Voice, around, refuse_unfinite};
use crate::aggregate::{Aggregator, Gathering, Mean};
use crate::base::{Error, Purpose, Result, Stream, Writer, flat};
use crate::compress::Coding;
use crate::fabric::{Port, Tag, peers};

/// Reduce-scatter and all-gather.
#[derive(Default)]
pub struct Reduce {
    engine: bool,
    /// What was given, for the second phase of a code that has one.
    given: Vec<f32>,
    short: Vec<f32>,
    scatter: Scatter,
}

impl Exchange for Reduce {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let (stream, shared) = talk.streams(voice.client);
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        let linear = talk.compressor.linear().ok_or_else(|| {
            Error::request("exchange=reduce needs a linear compressor (dense, block, powersgd); use exchange=gather")
        })?;
        linear.project(given, &coding, &mut self.short);
        if linear.two_phases() {
            self.given.clear();
            self.given.extend_from_slice(given);
        } else {
            linear.lift(&self.short, &coding, said);
        }
        self.speak(talk, 0)
    }

    /// Adds up and tells what of this rank's chunk is here. The second of two phases is said once the first is agreed on,
    /// which is `finish`'s.
    fn progress(&mut self, talk: &mut Talk) -> Result<()> {
        let others: Vec<usize> = peers(talk.port).collect();
        while !self.engine && self.scatter.owes(self.short.len(), talk.port.size(), 0) {
            if !talk.port.here(&others, &talk.across())? {
                break;
            }
            let gathering = talk.gathering(self.short.len());
            let weight = |rank: usize| talk.weights.get(rank).copied().unwrap_or(1.0);
            let (port, frame) = (&mut *talk.port, talk.frame);
            self.scatter.tell(port, talk.purpose, frame, 0, talk.aggregator, &gathering, &weight, &mut self.short)?;
        }
        Ok(())
    }

    /// An engine adds up the very numbers that are given.
    fn in_place(&mut self) -> Option<&mut dyn InPlace> {
        self.engine.then_some(self)
    }

    fn finish(&mut self, talk: &mut Talk, said: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let (stream, shared): (Stream, Stream) = talk.streams(talk.port.rank() as u64);
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        let mut flags = self.agree(talk, 0)?;
        let Some(linear) = talk.compressor.linear() else { return Ok(flags) };
        if !linear.two_phases() {
            linear.lift(&self.short, &coding, agreed);
            return Ok(flags);
        }
        linear.refine(&self.given, &coding, &mut self.short);
        self.speak(talk, 1)?;
        flags = self.agree(talk, 1)?;
        if let Some(linear) = talk.compressor.linear() {
            linear.lift(&self.short, &coding, agreed);
        }
        said.copy_from_slice(agreed);
        let gain = talk.aggregator.gain(talk.voices.len() as f64, talk.expected);
        if gain != 1.0 {
            // What was agreed is so many times what one voice was understood to have said.
            flat::divide(said, gain as f32);
        }
        Ok(flags)
    }
}

impl InPlace for Reduce {
    fn overwrite(&mut self, talk: &mut Talk, vector: &mut Vec<f32>) -> Result<u8> {
        engine::agree(talk, vector)
    }
}

impl Reduce {
    /// By the all-reduce of the fabric's engine.
    pub fn by_engine() -> Self {
        Self { engine: true, ..Self::default() }
    }

    /// In pieces of so many entries.
    pub fn in_pieces(piece: usize) -> Self {
        Self { scatter: Scatter { piece: piece.max(1), ..Scatter::default() }, ..Self::default() }
    }

    /// What is said before anybody is heard; an engine's collective begins when all have come to it.
    fn speak(&mut self, talk: &mut Talk, phase: usize) -> Result<()> {
        if self.engine {
            return Ok(());
        }
        self.scatter.send(talk.port, talk.purpose, talk.frame, phase, &self.short)
    }

    fn agree(&mut self, talk: &mut Talk, phase: usize) -> Result<u8> {
        if self.engine {
            return engine::agree(talk, &mut self.short);
        }
        let gathering = talk.gathering(self.short.len());
        let weight = |rank: usize| talk.weights.get(rank).copied().unwrap_or(1.0);
        let (port, frame) = (&mut *talk.port, talk.frame);
        self.scatter.agree(port, talk.purpose, frame, phase, talk.aggregator, &gathering, &weight, &mut self.short)
    }
}

/// The two halves of an all-reduce with a fixed order of addition.
struct Scatter {
    piece: usize,
    /// Numbers that the phases before have used.
    used: usize,
    /// Pieces of this rank's chunk that are added up and told.
    told: usize,
    out: Writer,
    heard: Vec<u8>,
    part: Vec<f32>,
    mine: Vec<f32>,
}

impl Default for Scatter {
    fn default() -> Self {
        let (out, heard) = (Writer::new(), Vec::new());
        Self { piece: PIECE, used: 0, told: 0, out, heard, part: Vec::new(), mine: Vec::new() }
    }
}

fn chunk(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

/// How the chunks of a vector of `len` entries are cut into as many pieces each, and what messages about them are numbered.
#[derive(Clone, Copy)]
struct Cut {
    len: usize,
    size: usize,
    pieces: usize,
    /// The number of the first.
    first: usize,
}

impl Cut {
    /// In pieces of about `piece` entries.
    fn new(len: usize, size: usize, piece: usize, first: usize) -> Self {
        Self { len, size, pieces: len.div_ceil(size).div_ceil(piece).max(1), first }
    }

    /// A piece of a rank's chunk, and the number of messages about it.
    fn piece(self, owner: usize, piece: usize) -> (Range<usize>, usize) {
        let whole = chunk(self.len, owner, self.size);
        let part = chunk(whole.len(), piece, self.pieces);
        (whole.start + part.start..whole.start + part.end, self.first + owner * self.pieces + piece)
    }
}

impl Scatter {
    /// How a vector is cut; the words of a second phase of a round have other numbers than those of the first.
    fn cut(&self, len: usize, size: usize, phase: usize) -> Cut {
        Cut::new(len, size, self.piece, if phase == 0 { 0 } else { self.used })
    }

    fn send(
        &mut self,
        port: &mut dyn Port,
        purpose: &Purpose,
        frame: Frame,
        phase: usize,
        vector: &[f32],
    ) -> Result<()> {
        let (tag, cut) = (Tag::across(purpose.clone()), self.cut(vector.len(), port.size(), phase));
        for piece in 0..cut.pieces {
            for to in around(port) {
                let (range, number) = cut.piece(to, piece);
                self.word(port, to, &tag, frame, number, &vector[range])?;
            }
        }
        Ok(())
    }

    /// Sends a part of a vector under its number.
    fn word(
        &mut self,
        port: &mut dyn Port,
        to: usize,
        tag: &Tag,
        frame: Frame,
        number: usize,
        part: &[f32],
    ) -> Result<()> {
        frame.start(part.len(), &mut self.out);
        self.out.varint(number as u64);
        self.out.f32s(part);
        self.out.seal(0);
        port.send(to, tag, self.out.bytes())
    }

    /// Hears the part of a vector with a number. Two words of one round between two ranks have different ones, so one that
    /// was repeated or lost on the way is not taken for the next.
    fn hear(
        &mut self,
        port: &mut dyn Port,
        from: usize,
        tag: &Tag,
        frame: Frame,
        number: usize,
        into: &mut [f32],
    ) -> Result<u8> {
        port.receive(from, tag, &mut self.heard)?;
        let (mut body, flags) = frame.open(from, into.len(), &self.heard)?;
        let came = body.varint()?;
        if came != number as u64 {
            return Err(Error::mismatch(format!(
                "rank {from} sent part {came} of a vector, expected part {number}: a message was repeated or lost on the way"
            )));
        }
        body.f32s(into)?;
        body.done()?;
        Ok(flags)
    }

    /// Whether pieces of this rank's chunk are left that are not told.
    fn owes(&self, len: usize, size: usize, phase: usize) -> bool {
        self.told < self.cut(len, size, phase).pieces
    }

    /// Hears everybody's part of the next piece of this rank's chunk, adds up and tells the others.
    #[allow(clippy::too_many_arguments)] // What a collective is: where, what for, when, how, of what.
    fn tell(
        &mut self,
        port: &mut dyn Port,
        purpose: &Purpose,
        frame: Frame,
        phase: usize,
        aggregator: &mut dyn Aggregator,
        gathering: &Gathering,
        weight: &dyn Fn(usize) -> f32,
        vector: &mut [f32],
    ) -> Result<()> {
        let (rank, size, tag) = (port.rank(), port.size(), Tag::across(purpose.clone()));
        let (own, number) = self.cut(vector.len(), size, phase).piece(rank, self.told);
        let (mut part, mut mine) = (std::mem::take(&mut self.part), std::mem::take(&mut self.mine));
        part.resize(own.len(), 0.0);
        mine.resize(own.len(), 0.0);
        aggregator.begin(&Gathering { len: own.len(), ..*gathering })?;
        for from in 0..size {
            if from == rank {
                aggregator.add(&vector[own.clone()], weight(from));
            } else {
                self.hear(port, from, &tag, frame, number, &mut part)?;
                aggregator.add(&part, weight(from));
            }
        }
        aggregator.finish(&mut mine);
        vector[own].copy_from_slice(&mine);
        for to in around(port) {
            self.word(port, to, &tag, frame, number, &mine)?;
        }
        (self.part, self.mine) = (part, mine);
        self.told += 1;
        Ok(())
    }

    /// Tells what is not told yet, and hears what the others' chunks add up to; rank 0's flags.
    #[allow(clippy::too_many_arguments)]
    fn agree(
        &mut self,
        port: &mut dyn Port,
        purpose: &Purpose,
        frame: Frame,
        phase: usize,
        aggregator: &mut dyn Aggregator,
        gathering: &Gathering,
        weight: &dyn Fn(usize) -> f32,
        vector: &mut [f32],
    ) -> Result<u8> {
        let (size, tag) = (port.size(), Tag::across(purpose.clone()));
        while self.owes(vector.len(), size, phase) {
            self.tell(port, purpose, frame, phase, aggregator, gathering, weight, vector)?;
        }
        let cut = self.cut(vector.len(), size, phase);
        (self.told, self.used) = (0, cut.first + cut.size * cut.pieces);
        let mut flags = frame.flags;
        for piece in 0..cut.pieces {
            for from in peers(port) {
                let (theirs, number) = cut.piece(from, piece);
                let sent = self.hear(port, from, &tag, frame, number, &mut vector[theirs])?;
                if from == 0 {
                    flags = sent;
                }
            }
        }
        Ok(flags)
    }
}

/// Averages vectors densely over all ranks, in place: what residuals, buffers, asides and evaluations travel by. Keeps its
/// memory from one average to the next.
#[derive(Default)]
pub struct Average {
    scatter: Scatter,
    mean: Mean,
}

impl Average {
    /// Overwrites everybody's `vector` with the mean of all.
    pub fn of(&mut self, port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &mut [f32]) -> Result<()> {
        let gathering = Gathering::of(vector.len(), port.size());
        self.scatter.send(port, purpose, frame, 0, vector)?;
        self.scatter.agree(port, purpose, frame, 0, &mut self.mean, &gathering, &|_| 1.0, vector)?;
        Ok(())
    }
}

/// Overwrites everybody's vector with rank 0's, and returns rank 0's flags.
pub fn broadcast(port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &mut [f32]) -> Result<u8> {
    let (mut scatter, tag) = (Scatter::default(), Tag::across(purpose.clone()));
    if port.rank() == 0 {
        (1..port.size()).try_for_each(|to| scatter.word(port, to, &tag, frame, 0, vector))?;
        return Ok(frame.flags);
    }
    scatter.hear(port, 0, &tag, frame, 0, vector)
}

/// One number of every rank, in rank order.
pub fn everybodys(port: &mut dyn Port, purpose: &Purpose, frame: Frame, mine: f32) -> Result<Vec<f32>> {
    let (mut scatter, tag, rank) = (Scatter::default(), Tag::across(purpose.clone()), port.rank());
    for to in peers(port) {
        scatter.word(port, to, &tag, frame, rank, &[mine])?;
    }
    let mut all = vec![mine; port.size()];
    for from in peers(port) {
        scatter.hear(port, from, &tag, frame, from, &mut all[from..=from])?;
    }
    Ok(all)
}
