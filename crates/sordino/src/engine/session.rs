//! The handle that callers hold: a worker with its port.

use std::sync::Arc;

use super::beside::Lanes;
use super::errand::{Word, confirm, listen};
use super::evaluate::Gap;
use super::hosts::Together;
use super::pipeline::{Piped, Seat, Share};
use super::round;
use super::told::Told;
use super::worker::Worker;
use crate::aggregate::Aggregator;
use crate::base::{Error, Former, Result, State};
use crate::buffers::Buffers;
use crate::compress::Compressor;
use crate::exchange::{Attack, Exchange};
use crate::fabric::{Clock, Group, Meter, Port, Shared, together};
use crate::feedback::Feedback;
use crate::local::{Local, Meeting};
use crate::optim::{Chain, Optimizer};
use crate::participation::Participation;
use crate::payload::Payload;
use crate::placement::Placement;
use crate::privacy::Mechanism;
use crate::schedule::Schedule;
use crate::staleness::Staleness;
use crate::topology::Topology;
use crate::workload::{Batch, Start, Workload};

/// One choice per axis, built. Only `recipe` makes these.
pub struct Parts {
    /// The base optimizer.
    pub optimizer: Optimizer,
    /// How silent steps are spent.
    pub local: Box<dyn Local>,
    /// What a meeting does to optimizer state.
    pub meeting: Meeting,
    /// Rows per worker and step.
    pub batch: Batch,
    /// When to speak.
    pub schedule: Box<dyn Schedule>,
    /// What is offered.
    pub payload: Payload,
    /// A vector as few bytes.
    pub compressor: Box<dyn Compressor>,
    /// What was not said is remembered.
    pub feedback: Box<dyn Feedback>,
    /// Many become one.
    pub aggregator: Box<dyn Aggregator>,
    /// How agreement is reached.
    pub exchange: Box<dyn Exchange>,
    /// The code of differences on the way down from a server that serves whoever comes; none: the model travels whole.
    pub down: Option<Box<dyn Compressor>>,
    /// What such a server does with late words.
    pub staleness: Staleness,
    /// How the last so many voices lie, if they do.
    pub attack: Option<(Attack, usize)>,
    /// The exchange and the aggregator of what travels beside, dense.
    pub lanes: Lanes,
    /// Who takes part.
    pub participation: Box<dyn Participation>,
    /// The outer step of every fragment of the model that is spoken of by itself; one where that is the whole.
    pub outer: Vec<Chain>,
    /// What hides one contribution.
    pub privacy: Option<Box<dyn Mechanism>>,
    /// What a meeting does to buffers.
    pub buffers: Buffers,
    /// Where the layers live.
    pub placement: Placement,
    /// Which ranks stand on one host.
    pub topology: Topology,
    /// Time, as an argument.
    pub clock: Arc<dyn Clock>,
    /// A hash of all the choices, which every rank must share.
    pub fingerprint: u64,
}

/// A worker with its port.
///
/// `round` does everything. A caller that owns its loop uses `open`, makes its own steps from `worker().point()`,
/// writes what it found into `worker().offer()` (or moves `point`, for parameters), and calls `close`; one whose optimizer
/// is its own too, and that learns its rate late, uses `begin`, `pace` and `close_after`.
///
/// In a pipelined run the worker is one of the ranks that hold the same blocks, and `port` is that group's; all ranks
/// meet at [`Session::everyone`].
pub struct Session {
    worker: Worker,
    port: Box<dyn Port>,
    /// The port of all ranks, where parts of a rank share it.
    shared: Option<Shared>,
    seat: Option<Seat>,
    topology: Topology,
}

impl Session {
    /// Joins a worker that holds the whole network and its port.
    pub fn new(worker: Worker, port: Box<dyn Port>) -> Self {
        Self { worker, port, shared: None, seat: None, topology: Topology::Complete }
    }

    /// The session of the rank at `port`, at the start of a run of `total` steps (if that is known) on `workload`, which
    /// holds everybody's rows; and what its rounds are made on: the workload, or this rank's blocks of it.
    pub fn join(
        mut parts: Parts,
        workload: Box<dyn Workload>,
        port: Box<dyn Port>,
        seed: u64,
        total: Option<u64>,
    ) -> Result<(Self, Box<dyn Workload>)> {
        let (rank, ranks) = (port.rank(), port.size());
        let Placement::Pipeline(pipeline) = &parts.placement else {
            let topology = parts.topology;
            topology.hosts(ranks)?;
            let worker = Worker::new(parts, &*workload, seed, rank, ranks, total);
            if topology.size() == 1 {
                return Ok((Self::new(worker, port), workload));
            }
            let shared = Shared::new(port);
            let workload = Box::new(Together::new(workload, shared.clone(), topology));
            let port = Box::new(shared.clone());
            return Ok((Self { worker, port, shared: Some(shared), seat: None, topology }, workload));
        };
        let seat = Seat::new(pipeline, &*workload, rank, ranks)?;
        let shared = Shared::new(port);
        parts.local = Box::new(Piped::new(&mut parts, &seat, &*workload, shared.clone(), seed, total)?);
        let group = Group::new(shared.clone(), seat.group(ranks))?;
        let share: Box<dyn Workload> = Box::new(Share::new(workload, seat.clone()));
        let worker = Worker::new(parts, &*share, seed, group.rank(), group.size(), total);
        let port = Box::new(group);
        Ok((Self { worker, port, shared: Some(shared), seat: Some(seat), topology: Topology::Complete }, share))
    }

    /// Begins from another model than the workload's: a trained one, the same on every rank.
    pub fn begin_from(&mut self, start: &Start) -> Result<()> {
        match &self.seat {
            None => self.worker.begin_from(start),
            Some(seat) => self.worker.begin_from(&seat.begin_from(start)?),
        }
    }

    /// Where this rank stands, in a pipelined run.
    pub fn seat(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }

    /// The port to all ranks, once what is on its way between them has been taken in: for words that all of them say.
    pub fn everyone(&mut self) -> Result<&mut dyn Port> {
        self.worker.quiet()?;
        match &mut self.shared {
            Some(shared) => Ok(shared),
            None => Ok(&mut *self.port),
        }
    }

    /// Overwrites the vector of every rank of this host with their mean: a collective call of theirs, for callers that find
    /// gradients themselves. Nothing where every rank is a worker by itself.
    pub fn together(&mut self, vector: &mut [f32]) -> Result<()> {
        let (Some(shared), None) = (&mut self.shared, &self.seat) else { return Ok(()) };
        let frame = self.worker.frame(0);
        self.worker.average.inside(shared, frame, vector)
    }

    /// Lends what a metering port has counted, if there is one.
    pub fn metered<T>(&mut self, with: impl FnOnce(&mut Meter) -> T) -> Option<T> {
        match &self.shared {
            Some(shared) => shared.metered(with),
            None => self.port.meter().map(with),
        }
    }

    /// The worker.
    pub fn worker(&mut self) -> &mut Worker {
        &mut self.worker
    }

    /// The worker, and the port that it meets others over.
    pub(super) fn parts(&mut self) -> (&mut Worker, &mut dyn Port) {
        (&mut self.worker, &mut *self.port)
    }

    /// The port.
    pub fn port(&mut self) -> &mut dyn Port {
        &mut *self.port
    }

    /// Whether all steps are done, or the budget of privacy is spent.
    pub fn done(&mut self) -> bool {
        self.worker.total().is_some_and(|total| self.worker.position().1 >= total) || self.worker.spent_up()
    }

    /// One round with our own local steps; `flags` are rank 0's decisions for everybody.
    pub fn round(&mut self, workload: &mut dyn Workload, flags: u8) -> Result<Told> {
        round::round(&mut self.worker, &mut *self.port, workload, flags)
    }

    /// Opens a round: how many local steps to make from `worker().point()`.
    pub fn open(&mut self) -> Result<u64> {
        round::open(&mut self.worker, &mut *self.port)?;
        if !self.worker.federated() {
            self.worker.voices().try_for_each(|voice| self.worker.enter(voice))?;
        }
        Ok(self.worker.silence)
    }

    /// The silent steps of a round that `open` began, on our own optimizer. Federated clients speak as soon as they
    /// have made theirs.
    pub fn spend(&mut self, workload: &mut dyn Workload) -> Result<()> {
        if !self.worker.federated() {
            return self.worker.spend(workload);
        }
        for voice in self.worker.voices() {
            self.worker.enter(voice)?;
            self.worker.spend(workload)?;
            round::speak(&mut self.worker, &mut *self.port, 0)?;
        }
        Ok(())
    }

    /// What the server that serves whoever comes announces next.
    pub fn listen(&mut self) -> Result<Word> {
        self.worker.compare(&mut *self.port)?;
        listen(&mut *self.port)
    }

    /// Answers `Word::Work`: takes the piece of work, makes its silent steps and says what it found.
    pub fn errand(&mut self, workload: &mut dyn Workload) -> Result<Told> {
        self.worker.errand(&mut *self.port, workload)
    }

    /// Answers `Word::Flush`: says what earlier words left out.
    pub fn flush(&mut self) -> Result<()> {
        self.worker.flush(&mut *self.port)
    }

    /// Answers `Word::Certify`.
    pub fn certify(&mut self, workload: &mut dyn Workload, model: &[f32]) -> Result<()> {
        self.worker.certify(&mut *self.port, workload, model)
    }

    /// Answers `Word::Save`, once everything is saved.
    pub fn confirm(&mut self) -> Result<()> {
        confirm(&mut *self.port)
    }

    /// Closes the round that `open` began and `spend` worked in; where words may be late, the first steps of the next
    /// round are made while they travel.
    pub fn meet(&mut self, workload: &mut dyn Workload, flags: u8) -> Result<Told> {
        if !self.worker.federated() {
            round::speak(&mut self.worker, &mut *self.port, flags)?;
        }
        self.worker.meanwhile(&mut *self.port, workload, flags)?;
        round::close(&mut self.worker, &mut *self.port, flags)
    }

    /// Closes the round that `open` began, of a caller that has made its steps.
    pub fn close(&mut self, flags: u8) -> Result<Told> {
        if self.worker.ahead.goes() {
            return Err(Error::request(
                "staleness=delayed goes on with our own steps while words travel; close the round with `meet`, or take \
                 staleness=fresh",
            ));
        }
        if !self.worker.federated() {
            round::speak(&mut self.worker, &mut *self.port, flags)?;
        }
        round::close(&mut self.worker, &mut *self.port, flags)
    }

    /// The model and buffers that an evaluation uses; a collective call. Of a pipelined network rank 0 has the whole,
    /// the others their blocks.
    pub fn evaluated(&mut self, workload: &mut dyn Workload) -> Result<Start> {
        self.worker.heard()?;
        let found = self.worker.evaluated(&mut *self.port, workload)?;
        let (Some(seat), Some(shared)) = (&self.seat, &mut self.shared) else { return Ok(found) };
        self.worker.quiet()?;
        Ok(Start { parameters: seat.collect(shared, &found.parameters)?, ..found })
    }

    /// This rank's part of the duality gap at `model`, what an evaluation uses, where local work can tell it.
    pub fn certificate(&mut self, workload: &mut dyn Workload, model: &[f32]) -> Result<Option<Gap>> {
        self.worker.certificate(workload, model)
    }

    /// Everything the worker remembers, what its workload does, and what time it is where the port knows.
    pub fn save(&mut self, workload: &dyn Workload) -> Result<State> {
        self.worker.heard()?;
        let mut state = self.worker.save()?;
        let (mut inner, mut port) = (State::default(), State::default());
        workload.save(&mut inner);
        self.port.save(&mut port);
        state.put_all("workload", inner);
        state.put_all("port", port);
        Ok(state)
    }

    /// Takes it back.
    pub fn load(&mut self, state: &State, workload: &mut dyn Workload) -> Result<()> {
        self.port.load(&state.part("port"))?;
        self.worker.load(state)?;
        workload.load(&state.part("workload"))
    }

    /// Takes what all ranks of a run remembered, in rank order, that had another number of ranks; of as many ranks as
    /// there are now it takes its own, as [`Session::load`] does.
    ///
    /// The run goes on from the same model, and the model is owed what it was owed: every rank begins with the mean of
    /// what the old ones left unsaid (by rows where the aggregator weighs; where words are added up as many times longer
    /// as there are fewer of them), with the mean of their shifts, control variates and optimizer state, and of buffers
    /// but for `buffers=root`. What is the same on every rank stays, what the server has not told stays with the server,
    /// a row keeps its dual variable and a client everything it remembers, so that federated runs go on as if nothing had
    /// happened. What belongs to rows that others hold now is refused with a cure: the memory of SVRG and SAGA, batches on
    /// their way through a pipeline, words on their way to a server that serves whoever comes, and privacy that
    /// hides a worker.
    pub fn load_from(&mut self, states: &[State], workload: &mut dyn Workload) -> Result<()> {
        let (rank, ranks) = match &self.shared {
            Some(shared) => (shared.rank(), shared.size()),
            None => (self.port.rank(), self.port.size()),
        };
        if states.len() == ranks {
            return self.load(&states[rank], workload);
        }
        let all = Former::new(states.iter().collect(), &[], 1.0);
        self.port.load(&together(&all.part("port"), ranks)?)?;
        // Those that hold the same blocks of a network stand at the same place of every copy; a host is what its leader is.
        let (first, step) = self.seat.as_ref().map_or((0, self.topology.size()), Seat::place);
        if !states.len().is_multiple_of(step) {
            return Err(Error::mismatch(format!(
                "the checkpoint is of {} ranks, and {step} together are one worker: it is of another recipe",
                states.len()
            )));
        }
        let own: Vec<&State> = states.iter().skip(first).step_by(step).collect();
        self.worker.load_from(&own, self.port.size(), workload)?;
        let inner = workload.deal(&Former::new(own, &[], 1.0).part("workload"))?;
        workload.load(&inner)
    }
}
