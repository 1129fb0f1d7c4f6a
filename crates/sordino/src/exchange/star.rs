//! Star: through a server that rank 0 hosts, with a compressor and a feedback of its own on the way down.
//!
//! # What it does
//! Workers send their messages up; the server aggregates, compresses what it found, and sends that down.
//!
//! # The step
//! ```text
//! up:    worker k sends encode(given_k)
//! down:  u = E + aggregate(decode …) ;  q = C_down(u) ;  E ← u − q ;  agreed = q on every rank
//! ```
//! # Contract
//! Any compressors, any aggregator. A worker sends one message and receives one, whatever N. The server's words to the
//! worker on its own rank do not count; the ledger shows it as `server`. While everybody takes part every worker is
//! owed the same, so one feedback serves them all.
//!
//! # When it helps, when it hurts
//! Many workers on slow links, and methods whose paper has a server with error feedback (SAEF). The server's link
//! carries N messages each way.
//!
//! # Reference
//! Tang et al.: `DoubleSqueeze` (1905.05957); Xu, Huo, Huang (2008.05823).
//!
//! # Deviations from the paper
//! None.

use super::{Exchange, Talk, refuse_unfinite};
use crate::base::{Layout, Purpose, Reader, Result, State, Stream, Use, Writer};
use crate::compress::{Coding, Compressor};
use crate::fabric::{Tag, Way};
use crate::feedback::Feedback;

/// A server on rank 0.
pub struct Star {
    down: Box<dyn Compressor>,
    feedback: Box<dyn Feedback>,
    out: Writer,
    said: Vec<f32>,
    heard: Vec<u8>,
    decoded: Vec<f32>,
}

impl Star {
    /// With a compressor and a feedback on the way down.
    pub fn new(down: Box<dyn Compressor>, feedback: Box<dyn Feedback>) -> Self {
        Self { down, feedback, out: Writer::new(), said: Vec::new(), heard: Vec::new(), decoded: Vec::new() }
    }

    /// The server's part: hear everybody, aggregate, compress, tell everybody.
    fn serve(&mut self, talk: &mut Talk, agreed: &mut [f32]) -> Result<()> {
        let up = Tag { purpose: Purpose::Payload, way: Way::Up };
        self.decoded.resize(agreed.len(), 0.0);
        talk.aggregator.begin(agreed.len());
        talk.aggregator.add(&self.said, talk.weight(0));
        for from in 1..talk.port.size() {
            talk.port.receive(from, &up, &mut self.heard)?;
            let (mut body, _) = talk.frame.open(from, agreed.len(), &self.heard)?;
            talk.compressor.decode(&mut body, talk.layout, &mut self.decoded)?;
            body.done()?;
            talk.aggregator.add(&self.decoded, talk.weight(from));
        }
        let mut given = std::mem::take(&mut self.decoded);
        talk.aggregator.finish(&mut given);
        self.feedback.compensate(&mut given);
        refuse_unfinite(&given)?;
        let stream = Stream::new(talk.seed, Use::Down, 0, talk.frame.round);
        let (_, shared) = talk.streams(0);
        talk.frame.start(given.len(), &mut self.out);
        let body = self.out.bytes().len();
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        self.down.encode(&given, &coding, &mut self.out)?;
        self.down.decode(&mut Reader::new(&self.out.bytes()[body..]), talk.layout, agreed)?;
        self.out.seal(0);
        let down = Tag { purpose: Purpose::Payload, way: Way::Down };
        for to in 1..talk.port.size() {
            talk.port.send(to, &down, self.out.bytes())?;
        }
        self.feedback.settle(&given, agreed);
        self.decoded = given;
        Ok(())
    }
}

impl Exchange for Star {
    fn begin(&mut self, talk: &mut Talk, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let (stream, shared) = talk.streams(talk.port.rank());
        talk.frame.start(given.len(), &mut self.out);
        let body = self.out.bytes().len();
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        talk.compressor.encode(given, &coding, &mut self.out)?;
        talk.compressor.decode(&mut Reader::new(&self.out.bytes()[body..]), talk.layout, said)?;
        self.out.seal(0);
        self.said.clear();
        self.said.extend_from_slice(said);
        if talk.port.rank() > 0 {
            talk.port.send(0, &Tag { purpose: Purpose::Payload, way: Way::Up }, self.out.bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, talk: &mut Talk, agreed: &mut [f32]) -> Result<u8> {
        let mut flags = talk.frame.flags;
        if talk.port.rank() == 0 {
            self.serve(talk, agreed)?;
        } else {
            talk.port.receive(0, &Tag { purpose: Purpose::Payload, way: Way::Down }, &mut self.heard)?;
            let (mut body, sent) = talk.frame.open(0, agreed.len(), &self.heard)?;
            self.down.decode(&mut body, talk.layout, agreed)?;
            body.done()?;
            flags = sent;
        }
        // EF21 on the way down: what travelled was a difference to a shift that every rank holds.
        self.feedback.restore(agreed, 1.0);
        Ok(flags)
    }

    fn save(&self, state: &mut State) {
        self.feedback.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.feedback.load(state, layout)
    }
}
