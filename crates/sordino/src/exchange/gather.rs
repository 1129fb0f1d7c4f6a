//! Gather: every rank's message goes to every rank, and each aggregates for itself.
//!
//! # What it does
//! All-gather of encoded vectors; decoding and adding happen in rank order on every rank.
//!
//! # The step
//! ```text
//! agreed = aggregate(decode m₀, decode m₁, …, decode m_{N−1})
//! ```
//! # Contract
//! Every rank has one voice. Any compressor, any aggregator. Every rank sends and receives N − 1 messages. The neutral element.
//!
//! A vector of more than `piece` entries goes in as many messages as there are pieces, where that changes nothing of what
//! is said: each is sent as soon as it is coded.
//!
//! # When it helps, when it hurts
//! Right for few workers and strong codes: nothing is decoded and encoded again on the way. Grows with N.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::chunks::Chunks;
use super::{Exchange, PIECE, Talk, Voice, around, refuse_unfinite};
use crate::base::{Reader, Result, Writer};
use crate::compress::Coding;

/// All-gather.
pub struct Gather {
    piece: usize,
    chunks: Option<Chunks>,
    out: Writer,
    said: Vec<f32>,
    heard: Vec<u8>,
    /// Room for a voice's vector, where it is not added up as it comes.
    spare: Vec<f32>,
}

impl Default for Gather {
    fn default() -> Self {
        Self::in_pieces(PIECE)
    }
}

impl Gather {
    /// In pieces of so many entries.
    pub fn in_pieces(piece: usize) -> Self {
        Self {
            piece: piece.max(1),
            chunks: None,
            out: Writer::new(),
            said: Vec::new(),
            heard: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The pieces of this meeting, taken out so that codecs can be used beside them.
    fn chunks(&mut self, talk: &Talk) -> Chunks {
        match self.chunks.take() {
            Some(chunks) if chunks.are_of(talk.layout, 1) => chunks,
            _ => Chunks::whole(talk.layout, &*talk.compressor, self.piece),
        }
    }
}

impl Exchange for Gather {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let (chunks, tag) = (self.chunks(talk), talk.across());
        let (stream, shared) = talk.streams(voice.client);
        for piece in chunks.of(0) {
            let (stream, shared) = (stream.from_part(piece.first_up), shared.from_part(piece.first_up));
            let coding = Coding { layout: &piece.layout, stream: &stream, shared: &shared };
            piece.start(talk.frame, piece.up, &mut self.out);
            let body = self.out.bytes().len();
            talk.compressor.encode(&given[piece.range.clone()], &coding, &mut self.out)?;
            let said = &mut said[piece.range.clone()];
            talk.compressor.decode(&mut Reader::new(&self.out.bytes()[body..]), &piece.layout, said)?;
            self.out.seal(0);
            for to in around(talk.port) {
                talk.port.send(to, &tag, self.out.bytes())?;
            }
        }
        self.said.clear();
        self.said.extend_from_slice(said);
        self.chunks = Some(chunks);
        Ok(())
    }

    fn finish(&mut self, talk: &mut Talk, _: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let (chunks, tag) = (self.chunks(talk), talk.across());
        let mut flags = talk.frame.flags;
        talk.aggregator.begin(&talk.gathering(agreed.len()))?;
        let (frame, heard) = (talk.frame, &mut self.heard);
        for from in 0..talk.port.size() {
            if from == talk.port.rank() {
                talk.aggregator.add(&self.said, talk.weight(from));
                continue;
            }
            talk.hear(from, agreed.len(), &mut self.spare, |ear| {
                for piece in chunks.of(0) {
                    ear.port.receive(from, &tag, heard)?;
                    let (body, sent) = piece.open(frame, from, piece.up, heard)?;
                    ear.take(body, &piece.layout, piece.range.clone())?;
                    if from == 0 {
                        flags = sent;
                    }
                }
                Ok(())
            })?;
        }
        talk.aggregator.finish(agreed);
        self.chunks = Some(chunks);
        Ok(flags)
    }
}
