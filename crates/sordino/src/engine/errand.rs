//! A worker that a server serves whenever it comes: it is told what to begin from, works, says what it found, and waits.
//!
//! ```text
//! told     the model, or what it has moved by · how far the run is · whom to play
//! enter    feedback: look ahead
//! local    silent steps
//! say      payload · feedback: compensate · compress · feedback: settle
//! leave    optimizer state is kept or reset; of a client that a worker plays nothing is kept
//! ```
//! Every message to a worker is announced by a byte of control, so that what is only asked for by the way (to save, to
//! stop) takes no part of training's bytes or time.

use super::evaluate::Gap;
use super::told::Told;
use super::worker::Worker;
use crate::base::{Error, Purpose, Reader, Result, Stream, Use, Writer};
use crate::compress::Coding;
use crate::exchange::Voice;
use crate::fabric::{Port, Tag, Way};
use crate::workload::Workload;

/// What a server announces.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A piece of work follows.
    Work,
    /// What was left unsaid is to be said.
    Flush,
    /// How far from the optimum this model is, as far as the worker's rows can tell, is to be told.
    Certify(Vec<f32>),
    /// Everything is to be saved; the bytes say where.
    Save(Vec<u8>),
    /// The run is over.
    Stop,
}

/// What a worker's model becomes before it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Same,
    Whole,
    Difference,
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The server's updates so far.
    pub version: u64,
    /// Steps of every worker so far, on average.
    pub step: u64,
    /// Whom to play.
    pub client: u64,
    /// The client's pieces of work so far.
    pub index: u64,
    /// The client's steps so far.
    pub draws: u64,
    pub form: Form,
}

impl Job {
    pub fn write(&self, out: &mut Writer) {
        out.clear();
        for number in [self.version, self.step, self.client, self.index, self.draws] {
            out.varint(number);
        }
        out.u8(self.form as u8);
    }

    fn read(reader: &mut Reader) -> Result<Self> {
        let mut next = || reader.varint();
        let (version, step, client, index, draws) = (next()?, next()?, next()?, next()?, next()?);
        let form = match reader.u8()? {
            0 => Form::Same,
            1 => Form::Whole,
            2 => Form::Difference,
            other => return Err(Error::decode(format!("a server's word has the form {other}, expected 0, 1 or 2"))),
        };
        Ok(Self { version, step, client, index, draws, form })
    }
}

/// What a worker tells beside its word: nothing that training needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Note {
    /// Mean mini-batch loss of the piece of work.
    pub loss: f64,
    /// Seconds in local steps so far, of the clock and of the processor.
    pub compute: f64,
    /// Of the processor.
    pub cpu: f64,
    /// Seconds in all else so far.
    pub close: f64,
    /// Of that, waiting.
    pub wait: f64,
    /// Steps shortened by clipping.
    pub clipped: f64,
    /// Rows clipped one by one.
    pub clipped_rows: f64,
    /// Offers shortened.
    pub shortened: f64,
    /// ‖what the feedback remembers‖; not a number where it remembers nothing.
    pub residual: f64,
}

impl Note {
    fn fields(&mut self) -> [&mut f64; 9] {
        let Self { loss, compute, cpu, close, wait, clipped, clipped_rows, shortened, residual } = self;
        [loss, compute, cpu, close, wait, clipped, clipped_rows, shortened, residual]
    }

    fn write(mut self, out: &mut Writer) {
        out.clear();
        for field in self.fields() {
            out.u64(field.to_bits());
        }
        out.seal(0);
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let (mut note, mut reader) = (Self::default(), Reader::open(bytes)?);
        for field in note.fields() {
            *field = f64::from_bits(reader.u64()?);
        }
        reader.done()?;
        Ok(note)
    }
}

/// What a message up to the server is for.
pub(super) fn up(purpose: Purpose) -> Tag {
    Tag { purpose, way: Way::Up }
}

/// What a message down from the server is for.
pub(super) fn down(purpose: Purpose) -> Tag {
    Tag { purpose, way: Way::Down }
}

/// What the server, the last rank, announces next.
pub fn listen(port: &mut dyn Port) -> Result<Word> {
    let (mut heard, server) = (Vec::new(), port.size() - 1);
    port.receive(server, &down(Purpose::Control), &mut heard)?;
    let mut reader = Reader::open(&heard).map_err(|e| e.within("from the server"))?;
    let kind = reader.u8()?;
    let rest = reader.raw(reader.left())?.to_vec();
    Ok(match kind {
        0 => Word::Work,
        1 => Word::Flush,
        2 => Word::Save(rest),
        3 => Word::Stop,
        4 => {
            let mut model = vec![0.0; rest.len() / size_of::<f32>()];
            Reader::new(&rest).f32s(&mut model)?;
            Word::Certify(model)
        }
        other => return Err(Error::decode(format!("the server announced {other}, which is nothing known"))),
    })
}

/// The server's announcement as bytes.
pub(super) fn announce(word: &Word, out: &mut Writer) {
    out.clear();
    match word {
        Word::Work => out.u8(0),
        Word::Flush => out.u8(1),
        Word::Save(place) => {
            out.u8(2);
            out.raw(place);
        }
        Word::Stop => out.u8(3),
        Word::Certify(model) => {
            out.u8(4);
            out.f32s(model);
        }
    }
    out.seal(0);
}

/// Says that what was asked for by the way is done.
pub fn confirm(port: &mut dyn Port) -> Result<()> {
    let mut out = Writer::new();
    out.seal(0);
    let server = port.size() - 1;
    port.send(server, &up(Purpose::Control), out.bytes())
}

/// What a worker tells of how far from the optimum a model is.
pub(super) fn write_gap(gap: Option<Gap>, out: &mut Writer) {
    out.clear();
    if let Some(Gap { slack, owed }) = gap {
        out.u64(slack.to_bits());
        out.u64(owed.to_bits());
    }
    out.seal(0);
}

pub(super) fn read_gap(bytes: &[u8]) -> Result<Option<Gap>> {
    let mut reader = Reader::open(bytes)?;
    if reader.left() == 0 {
        return Ok(None);
    }
    let (slack, owed) = (f64::from_bits(reader.u64()?), f64::from_bits(reader.u64()?));
    reader.done()?;
    Ok(Some(Gap { slack, owed }))
}

impl Worker {
    /// Tells what its rows know of how far from the optimum `model` is.
    pub(super) fn certify(&mut self, port: &mut dyn Port, workload: &mut dyn Workload, model: &[f32]) -> Result<()> {
        let gap = self.certificate(workload, model)?;
        let (mut out, server) = (Writer::new(), port.size() - 1);
        write_gap(gap, &mut out);
        port.send(server, &up(Purpose::Control), out.bytes())
    }

    /// One piece of work, once the server has announced it.
    pub(super) fn errand(&mut self, port: &mut dyn Port, workload: &mut dyn Workload) -> Result<Told> {
        let began = self.clock.now();
        let job = self.learn(port)?;
        self.talked_since(began);
        (self.round, self.step, self.draws) = (job.index, job.step, job.draws);
        self.begin_silence();
        self.enter(Voice { client: job.client, rank: self.rank })?;
        self.spend(workload)?;
        let began = self.clock.now();
        self.feedback.compensate(&mut self.offer);
        self.say(port)?;
        self.settle();
        let told = self.told_of_work();
        self.talked_since(began);
        self.note(port, &told)?;
        self.end_work();
        Ok(told)
    }

    /// Takes what the server says of the model.
    fn learn(&mut self, port: &mut dyn Port) -> Result<Job> {
        let (mut heard, server) = (Vec::new(), port.size() - 1);
        port.receive(server, &down(Purpose::Payload), &mut heard)?;
        let mut reader = Reader::open(&heard).map_err(|e| e.within("from the server"))?;
        let job = Job::read(&mut reader)?;
        match job.form {
            Form::Same => {}
            Form::Whole => reader.f32s(&mut self.model)?,
            Form::Difference => {
                let down = self.down.as_mut().ok_or_else(|| {
                    Error::mismatch("the server sent a difference in a code that this worker's recipe does not have")
                })?;
                down.decode(&mut reader, &self.layout, &mut self.agreed)?;
                crate::base::flat::subtract(&mut self.model, &self.agreed);
            }
        }
        reader.done()?;
        if job.form != Form::Same && self.shares_buffers() {
            port.receive(server, &down(Purpose::Buffers), &mut heard)?;
            let mut reader = Reader::open(&heard).map_err(|e| e.within("from the server"))?;
            reader.f32s(&mut self.buffers)?;
            reader.done()?;
        }
        Ok(job)
    }

    /// Says what was found.
    fn say(&mut self, port: &mut dyn Port) -> Result<()> {
        crate::exchange::refuse_unfinite(&self.offer)?;
        let client = self.voice.client;
        let stream = Stream::new(self.seed, Use::Encode, client, self.round);
        let shared = Stream::new(self.seed, Use::Shared, 0, self.round);
        let mut out = Writer::new();
        for number in [self.round, self.silence, self.offer.len() as u64] {
            out.varint(number);
        }
        let body = out.bytes().len();
        let coding = Coding { layout: &self.layout, stream: &stream, shared: &shared };
        self.compressor.encode(&self.offer, &coding, &mut out)?;
        self.compressor.decode(&mut Reader::new(&out.bytes()[body..]), &self.layout, &mut self.said)?;
        out.seal(0);
        let server = port.size() - 1;
        port.send(server, &up(Purpose::Payload), out.bytes())?;
        if !self.buffers.is_empty() {
            out.clear();
            out.f32s(&self.buffers);
            out.seal(0);
            port.send(server, &up(Purpose::Buffers), out.bytes())?;
        }
        Ok(())
    }

    /// Tells what training does not need.
    fn note(&mut self, port: &mut dyn Port, told: &Told) -> Result<()> {
        let times = self.times;
        let note = Note {
            loss: told.loss,
            compute: times.compute,
            cpu: times.cpu,
            close: times.close,
            wait: port.meter().map_or(0.0, |meter| meter.wait),
            clipped: told.clipped as f64,
            clipped_rows: told.clipped_rows as f64,
            shortened: told.shortened as f64,
            residual: told.residual_norm.unwrap_or(f64::NAN),
        };
        let (mut out, server) = (Writer::new(), port.size() - 1);
        note.write(&mut out);
        port.send(server, &up(Purpose::Control), out.bytes())
    }

    /// Says densely what earlier words left out; nothing is owed afterwards.
    pub(super) fn flush(&mut self, port: &mut dyn Port) -> Result<()> {
        let mut out = Writer::new();
        let server = port.size() - 1;
        for (_, vector) in self.feedback.own() {
            vector.resize(self.model.len(), 0.0);
            crate::exchange::refuse_unfinite(vector)?;
            out.clear();
            out.f32s(vector);
            out.seal(0);
            vector.fill(0.0);
            port.send(server, &up(Purpose::Residual), out.bytes())?;
        }
        Ok(())
    }
}
