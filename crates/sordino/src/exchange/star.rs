//! Star: through a server that rank 0 hosts, with a compressor and a feedback of its own on the way down.
//!
//! # What it does
//! Workers send their messages up; the server aggregates, compresses what it found, and sends that down.
//!
//! # The step
//! ```text
//! up:    worker k sends encode(given_k)
//! down:  u = E + aggregate(decode …) ;  q = C_down(u) ;  E ← u − q ;  agreed = q on every rank
//!
//! federated:  the server sends the model to every client that was asked (`invite`), hears their messages in the order
//!             of clients, and tells its ranks what it agreed on, which is bookkeeping and no part of training's bytes
//! ```
//! # Contract
//! Any compressors, any aggregator. A worker sends one message and receives one, whatever N. The server's words to the
//! worker on its own rank do not count; the ledger shows it as `server`. While everybody takes part every worker is
//! owed the same, so one feedback serves them all. A rank may speak for any number of federated clients; those are on
//! machines of their own, so all their messages count, whichever rank plays them, and what they receive is the whole
//! model: a client that comes back after some rounds could do nothing with a difference.
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

use std::collections::VecDeque;

use super::{Exchange, Frame, Talk, Voice, refuse_unfinite};
use crate::base::{Error, Former, Layout, Purpose, Reader, Result, State, Stream, Use, Writer, flat};
use crate::compress::{Coding, Compressor};
use crate::fabric::{Port, Tag, Way, peers};
use crate::feedback::Feedback;

/// A server on rank 0.
pub struct Star {
    down: Box<dyn Compressor>,
    feedback: Box<dyn Feedback>,
    out: Writer,
    /// Messages of the voices that rank 0 itself speaks for, in order; spent ones keep their memory.
    own: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    heard: Vec<u8>,
    /// Room for a voice's vector, where it is not added up as it comes.
    voice: Vec<f32>,
    mean: Vec<f32>,
    /// What the server has told before it was asked for.
    told: Option<Vec<f32>>,
}

impl Star {
    /// With a compressor and a feedback on the way down.
    pub fn new(down: Box<dyn Compressor>, feedback: Box<dyn Feedback>) -> Self {
        Self {
            down,
            feedback,
            out: Writer::new(),
            own: VecDeque::new(),
            spare: Vec::new(),
            heard: Vec::new(),
            voice: Vec::new(),
            mean: Vec::new(),
            told: None,
        }
    }

    /// The server's part: hear everybody, aggregate, compress, tell everybody.
    fn serve(&mut self, talk: &mut Talk, agreed: &mut [f32]) -> Result<()> {
        let up = talk.up();
        let (len, frame) = (agreed.len(), talk.frame);
        talk.aggregator.begin(&talk.gathering(len))?;
        for (at, voice) in talk.voices.iter().enumerate() {
            if voice.rank == 0 {
                let own = self
                    .own
                    .pop_front()
                    .ok_or_else(|| Error::request(format!("client {} was asked and has not spoken", voice.client)))?;
                self.spare.push(std::mem::replace(&mut self.heard, own));
            } else {
                talk.port.receive(voice.rank, &up, &mut self.heard)?;
            }
            let (heard, layout) = (&self.heard, talk.layout);
            talk.hear(at, len, &mut self.voice, |ear| {
                let (body, _) = frame.open(voice.rank, len, heard)?;
                ear.take(body, layout, 0..len)
            })?;
        }
        let mut given = std::mem::take(&mut self.mean);
        given.resize(len, 0.0);
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
        for to in 1..talk.port.size() {
            talk.port.send(to, &down(talk), self.out.bytes())?;
        }
        self.feedback.settle(&given, agreed);
        self.mean = given;
        Ok(())
    }
}

/// What a message from the server to a rank is for. What is told to ranks that play clients is bookkeeping.
fn down(talk: &Talk) -> Tag {
    let purpose = if talk.clients { Purpose::Control } else { talk.purpose.clone() };
    Tag { purpose, way: Way::Down }
}

/// Counts what the server sends to each of `asked` federated clients: `vector` as it is, in one message each.
pub fn invite(port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &[f32], asked: usize) {
    if port.rank() == 0 && port.meter().is_some() {
        let mut out = Writer::new();
        frame.start(vector.len(), &mut out);
        out.f32s(vector);
        out.seal(0);
        let tag = Tag { purpose: purpose.clone(), way: Way::ToClient };
        (0..asked).for_each(|_| port.count(&tag, out.bytes()));
    }
}

/// Counts what a federated client tells the server beside its message: `vector` as it is, in one message.
pub fn report_beside(port: &mut dyn Port, purpose: &Purpose, frame: Frame, vector: &[f32]) {
    if port.meter().is_some() {
        let mut out = Writer::new();
        frame.start(vector.len(), &mut out);
        out.f32s(vector);
        out.seal(0);
        port.count(&Tag { purpose: purpose.clone(), way: Way::FromClient }, out.bytes());
    }
}

impl Exchange for Star {
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()> {
        refuse_unfinite(given)?;
        let (stream, shared) = talk.streams(voice.client);
        talk.frame.start(given.len(), &mut self.out);
        let body = self.out.bytes().len();
        let coding = Coding { layout: talk.layout, stream: &stream, shared: &shared };
        talk.compressor.encode(given, &coding, &mut self.out)?;
        talk.compressor.decode(&mut Reader::new(&self.out.bytes()[body..]), talk.layout, said)?;
        self.out.seal(0);
        if talk.port.rank() > 0 {
            return talk.port.send(0, &talk.up(), self.out.bytes());
        }
        if talk.clients {
            talk.port.count(&talk.up(), self.out.bytes());
        }
        let mut own = self.spare.pop().unwrap_or_default();
        own.clear();
        own.extend_from_slice(self.out.bytes());
        self.own.push_back(own);
        Ok(())
    }

    /// The server answers once everybody has spoken; its workers have nothing to do meanwhile.
    fn progress(&mut self, talk: &mut Talk) -> Result<()> {
        let others: Vec<usize> = peers(talk.port).collect();
        // A rank speaks for several clients, and says how many by what it says.
        if talk.port.rank() > 0 || talk.clients || self.told.is_some() || !talk.port.here(&others, &talk.up())? {
            return Ok(());
        }
        let mut agreed = vec![0.0; talk.layout.len()];
        self.serve(talk, &mut agreed)?;
        self.told = Some(agreed);
        Ok(())
    }

    fn finish(&mut self, talk: &mut Talk, _: &mut [f32], agreed: &mut [f32]) -> Result<u8> {
        let mut flags = talk.frame.flags;
        if talk.port.rank() == 0 {
            match self.told.take() {
                Some(told) => agreed.copy_from_slice(&told),
                None => self.serve(talk, agreed)?,
            }
        } else {
            talk.port.receive(0, &down(talk), &mut self.heard)?;
            let (mut body, sent) = talk.frame.open(0, agreed.len(), &self.heard)?;
            self.down.decode(&mut body, talk.layout, agreed)?;
            body.done()?;
            flags = sent;
        }
        // EF21 on the way down: what travelled was a difference to a shift that every rank holds.
        self.feedback.restore(agreed, 1.0);
        Ok(flags)
    }

    fn owed(&self) -> f64 {
        self.feedback.owed().map_or(0.0, flat::norm)
    }

    fn save(&self, state: &mut State) {
        self.feedback.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.feedback.load(state, layout)
    }

    /// What the server has not told stays with the server.
    fn deal(&mut self, former: &Former, rank: usize) -> Result<State> {
        let mut state = former.same_but(&[])?;
        if rank > 0 {
            for (name, _) in self.feedback.own() {
                state.vectors.remove(name);
            }
        }
        Ok(state)
    }
}
