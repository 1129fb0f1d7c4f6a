//! Two phases: rank r is the server of chunk r, hears what everybody says of it, and says to everybody what that came to.
//!
//! # What it does
//! Sends every chunk of a vector, coded by itself, to its owner, who aggregates, codes what it found and sends that to all.
//!
//! # The step
//! ```text
//! chunk r   the entries from about ⌊dr/N⌋ to about ⌊d(r + 1)/N⌋: chunks end where buckets do
//! up:    rank i sends encode(chunk r of given_i) to rank r, for every r
//! down:  rank r:  u = E_r + aggregate(decode …) ;  q = C_down(u) ;  E_r ← u − q ;  sends q to all
//! agreed = q₀ q₁ … q_{N−1} on every rank
//! ```
//! # Contract
//! Every rank has one voice. Any compressor that may run chunk by chunk (`Compressor::grain`), each chunk with scales and
//! selections of its own; any aggregator that treats every entry by itself. With a code of b bytes a vector every rank
//! sends and receives about 2(N − 1)/N · b (plus a frame a message), whatever N. Added up in rank order: with `dense` the
//! result equals `reduce`'s and `gather`'s bit for bit, and with buckets and `down=dense` it equals `gather`'s, for the
//! stream of a bucket is that of its place in the whole vector, in the round.
//!
//! A chunk of more than `piece` entries goes in pieces where that changes nothing of what is said: a piece is sent as soon
//! as it is coded, and coded on the way down as soon as it is agreed on, while others travel.
//!
//! E_r, what the owner left unsaid, is there only where workers remember too; nobody looks ahead of it, and a worker is
//! understood to have said what it said. With EF21 differences travel both ways, and E_r is what is left of them. All E_r
//! are one vector, so another number of ranks cuts it again.
//!
//! # When it helps, when it hurts
//! More than two workers and a code that cannot be added up: `gather` sends N/2 times as much. What is agreed on is coded a
//! second time: with feedback the model is owed what is lost, without it stays lost. Two latencies a round.
//!
//! # Reference
//! Tang et al.: 1-bit Adam (2102.02888), its compressed all-reduce; Tang et al.: `DoubleSqueeze` (1905.05957) for the
//! residual of the owner.
//!
//! # Deviations from the paper
//! There a vector has one scale for all of its chunks on the way up; here each chunk has its own, which is never worse.

use super::chunks::{Chunks, Piece};
use super::{Exchange, Talk, Voice, around, refuse_unfinite};
use crate::base::{Error, Former, Layout, Reader, Result, State, Stream, Use, Writer, flat};
use crate::compress::{Coding, Compressor};
use crate::fabric::peers;

/// Every rank a server of its chunk.
pub struct TwoPhase {
    down: Box<dyn Compressor>,
    /// Whether an owner remembers what it left unsaid.
    remembers: bool,
    piece: usize,
    chunks: Option<Chunks>,
    /// What this rank said of its own chunk.
    own: Vec<f32>,
    /// E of this rank's chunk, and where in the vector it lies; empty while nothing is owed.
    kept: Vec<f32>,
    from: usize,
    out: Writer,
    heard: Vec<u8>,
    /// Room for what a voice says of a piece, where it is not added up as it comes.
    spare: Vec<f32>,
    mean: Vec<f32>,
    /// How many of its pieces this rank has answered about before it was asked for, and what it answered.
    told: usize,
    early: Vec<f32>,
}

impl TwoPhase {
    /// With a compressor on the way down, a residual of every owner or none, and pieces of so many entries.
    pub fn new(down: Box<dyn Compressor>, remembers: bool, piece: usize) -> Self {
        Self {
            down,
            remembers,
            piece: piece.max(1),
            chunks: None,
            own: Vec::new(),
            kept: Vec::new(),
            from: 0,
            out: Writer::new(),
            heard: Vec::new(),
            spare: Vec::new(),
            mean: Vec::new(),
            told: 0,
            early: Vec::new(),
        }
    }

    /// The chunks of this meeting, taken out so that codecs can be used beside them.
    fn chunks(&mut self, talk: &Talk) -> Result<Chunks> {
        let size = talk.port.size();
        match self.chunks.take() {
            Some(chunks) if chunks.are_of(talk.layout, size) => Ok(chunks),
            _ => Chunks::new(talk.layout, size, &*talk.compressor, &*self.down, self.piece),
        }
    }

    /// Makes what was remembered, by whatever number of ranks, that of this rank's chunk.
    fn remember(&mut self, chunks: &Chunks, rank: usize) -> Result<()> {
        let own = chunks.chunk(rank);
        if !self.remembers || (self.from == own.start && self.kept.len() == own.len()) {
            return Ok(());
        }
        if self.kept.is_empty() {
            self.kept.resize(own.len(), 0.0);
        } else if self.from <= own.start && own.end <= self.from + self.kept.len() {
            self.kept.drain(..own.start - self.from);
            self.kept.truncate(own.len());
        } else {
            return Err(Error::mismatch(format!(
                "what the owner of entries {} to {} left unsaid came from the checkpoint, and rank {rank} owns {} to {}: a \
                 checkpoint is taken by as many ranks as it is of, or by all its ranks' states",
                self.from,
                self.from + self.kept.len(),
                own.start,
                own.end
            )));
        }
        self.from = own.start;
        Ok(())
    }

    /// The owner's part for one piece: hears everybody, aggregates, and tells everybody.
    fn serve(&mut self, talk: &mut Talk, piece: &Piece, base: usize, agreed: &mut [f32]) -> Result<()> {
        let (rank, size, len) = (talk.port.rank(), talk.port.size(), piece.range.len());
        let tag = talk.across();
        let own = piece.range.start - base..piece.range.end - base;
        self.mean.resize(len, 0.0);
        talk.aggregator.begin(&talk.gathering(len))?;
        let (frame, heard) = (talk.frame, &mut self.heard);
        for from in 0..size {
            if from == rank {
                talk.aggregator.add(&self.own[own.clone()], talk.weight(from));
                continue;
            }
            talk.hear(from, len, &mut self.spare, |ear| {
                ear.port.receive(from, &tag, heard)?;
                let (body, _) = piece.open(frame, from, piece.up, heard)?;
                ear.take(body, &piece.layout, 0..len)
            })?;
        }
        talk.aggregator.finish(&mut self.mean);
        if self.remembers {
            flat::add(&mut self.mean, &self.kept[own.clone()]);
        }
        refuse_unfinite(&self.mean)?;
        let stream = Stream::new(talk.seed, Use::Down, 0, talk.frame.round).from_part(piece.first_down);
        let shared = talk.streams(0).1.from_part(piece.first_down);
        let coding = Coding { layout: &piece.layout, stream: &stream, shared: &shared };
        piece.start(talk.frame, piece.down, &mut self.out);
        let body = self.out.bytes().len();
        self.down.encode(&self.mean, &coding, &mut self.out)?;
        let agreed = &mut agreed[piece.range.clone()];
        self.down.decode(&mut Reader::new(&self.out.bytes()[body..]), &piece.layout, agreed)?;
        self.out.seal(0);
        for to in around(talk.port) {
            talk.port.send(to, &tag, self.out.bytes())?;
        }
        if self.remembers {
            for ((kept, given), said) in self.kept[own].iter_mut().zip(&self.mean).zip(agreed) {
                *kept = given - *said;
            }
        }
        Ok(())
    }

    /// Codes what a voice gives of one piece, and sends it to the owner.
    fn say(&mut self, talk: &mut Talk, voice: Voice, piece: &Piece, given: &[f32], said: &mut [f32]) -> Result<()> {
        let (stream, shared) = talk.streams(voice.client);
        let (stream, shared) = (stream.from_part(piece.first_up), shared.from_part(piece.first_up));
        let coding = Coding { layout: &piece.layout, stream: &stream, shared: &shared };
        piece.start(talk.frame, piece.up, &mut self.out);
        let body = self.out.bytes().len();
        talk.compressor.encode(&given[piece.range.clone()], &coding, &mut self.out)?;
        let said = &mut said[piece.range.clone()];
        talk.compressor.decode(&mut Reader::new(&self.out.bytes()[body..]), &piece.layout, said)?;
        if piece.owner == talk.port.rank() {
            self.own.extend_from_slice(said);
            return Ok(());
        }
        self.out.seal(0);
        talk.port.send(piece.owner, &talk.across(), self.out.bytes())
    }
}

impl Exchange for TwoPhase {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let chunks = self.chunks(talk)?;
        self.own.clear();
        let rank = talk.port.rank();
        for piece in chunks.turns(rank) {
            self.say(talk, voice, piece, given, said)?;
        }
        self.chunks = Some(chunks);
        Ok(())
    }

    /// The owner answers about every piece that everybody has spoken of.
    fn progress(&mut self, talk: &mut Talk) -> Result<()> {
        let (chunks, rank) = (self.chunks(talk)?, talk.port.rank());
        self.remember(&chunks, rank)?;
        let (base, others) = (chunks.chunk(rank).start, peers(talk.port).collect::<Vec<_>>());
        let mut early = std::mem::take(&mut self.early);
        early.resize(talk.layout.len(), 0.0);
        while let Some(piece) = chunks.of(rank).get(self.told) {
            if !talk.port.here(&others, &talk.across())? {
                break;
            }
            self.serve(talk, piece, base, &mut early)?;
            self.told += 1;
        }
        (self.early, self.chunks) = (early, Some(chunks));
        Ok(())
    }

    fn finish(&mut self, talk: &mut Talk, _: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let (chunks, rank, tag) = (self.chunks(talk)?, talk.port.rank(), talk.across());
        self.remember(&chunks, rank)?;
        let base = chunks.chunk(rank).start;
        let told = std::mem::take(&mut self.told);
        for (at, piece) in chunks.of(rank).iter().enumerate() {
            if at < told {
                agreed[piece.range.clone()].copy_from_slice(&self.early[piece.range.clone()]);
            } else {
                self.serve(talk, piece, base, agreed)?;
            }
        }
        let mut flags = talk.frame.flags;
        for piece in chunks.turns(rank).filter(|piece| piece.owner != rank) {
            talk.port.receive(piece.owner, &tag, &mut self.heard)?;
            let (mut body, sent) = piece.open(talk.frame, piece.owner, piece.down, &self.heard)?;
            self.down.decode(&mut body, &piece.layout, &mut agreed[piece.range.clone()])?;
            body.done()?;
            if piece.owner == 0 {
                flags = sent;
            }
        }
        self.chunks = Some(chunks);
        Ok(flags)
    }

    fn owed(&self) -> f64 {
        flat::norm(&self.kept)
    }

    fn save(&self, state: &mut State) {
        if !self.kept.is_empty() {
            state.put("chunk", &self.kept);
            state.put_numbers("chunk", &[self.from as u64]);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        (self.from, self.kept) = (0, Vec::new());
        let Some(kept) = state.vectors.get("chunk") else { return Ok(()) };
        let [from] = state.take_numbers("chunk")?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        if from.saturating_add(kept.len()) > layout.len() {
            return Err(Error::mismatch(format!(
                "the checkpoint's chunk has {} entries from entry {from} on, and the model has {}: both must be of one model",
                kept.len(),
                layout.len()
            )));
        }
        (self.from, self.kept) = (from, kept.clone());
        Ok(())
    }

    /// What all owners left unsaid, as the one vector that it is: every new owner takes its chunk of it.
    fn deal(&mut self, former: &Former, _: usize) -> Result<State> {
        let (mut whole, mut state) = (Vec::new(), State::default());
        for theirs in former.each() {
            let Some(kept) = theirs.vectors.get("chunk") else { continue };
            let [from] = theirs.take_numbers::<1>("chunk")?.map(|from| from as usize);
            if from > whole.len() {
                return Err(Error::mismatch(format!(
                    "the checkpoint's chunks leave out entries {} to {from}; take a checkpoint that one run has made",
                    whole.len()
                )));
            }
            whole.truncate(from);
            whole.extend_from_slice(kept);
        }
        if !whole.is_empty() {
            state.put("chunk", &whole);
            state.put_numbers("chunk", &[0]);
        }
        Ok(state)
    }
}
