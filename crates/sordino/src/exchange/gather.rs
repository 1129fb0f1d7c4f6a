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
//! # When it helps, when it hurts
//! Right for few workers and strong codes: nothing is decoded and encoded again on the way. Grows with N.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::{Exchange, Talk, Voice, refuse_unfinite};
use crate::base::{Reader, Result, Writer};
use crate::compress::Coding;
use crate::fabric::peers;

/// All-gather.
#[derive(Default)]
pub struct Gather {
    out: Writer,
    said: Vec<f32>,
    heard: Vec<u8>,
    decoded: Vec<f32>,
}

impl Exchange for Gather {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let (stream, shared) = talk.streams(voice.client);
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        talk.frame.start(given.len(), &mut self.out);
        let body = self.out.bytes().len();
        talk.compressor.encode(given, &coding, &mut self.out)?;
        talk.compressor.decode(&mut Reader::new(&self.out.bytes()[body..]), talk.layout, said)?;
        self.out.seal(0);
        let tag = talk.across();
        for to in peers(talk.port) {
            talk.port.send(to, &tag, self.out.bytes())?;
        }
        self.said.clear();
        self.said.extend_from_slice(said);
        Ok(())
    }

    fn finish(&mut self, talk: &mut Talk, _: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let tag = talk.across();
        let mut flags = talk.frame.flags;
        self.decoded.resize(agreed.len(), 0.0);
        talk.aggregator.begin(&talk.gathering(agreed.len()))?;
        for from in 0..talk.port.size() {
            if from == talk.port.rank() {
                talk.aggregator.add(&self.said, talk.weight(from));
                continue;
            }
            talk.port.receive(from, &tag, &mut self.heard)?;
            let (mut body, sent_flags) = talk.frame.open(from, agreed.len(), &self.heard)?;
            talk.compressor.decode(&mut body, talk.layout, &mut self.decoded)?;
            body.done()?;
            talk.aggregator.add(&self.decoded, talk.weight(from));
            if from == 0 {
                flags = sent_flags;
            }
        }
        talk.aggregator.finish(agreed);
        Ok(flags)
    }
}
