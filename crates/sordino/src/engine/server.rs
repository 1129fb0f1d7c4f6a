//! A server that serves whoever comes: what it makes of words, and what it tells. Events in, commands out: it knows no
//! port, no thread and no clock.
//!
//! ```text
//! hear     the word of a worker about a model that is τ updates old: weight by staleness, keep
//! update   once there are enough: aggregate in the order of clients · optimizer or outer step · x ← x − u
//! flush    after an update that bounded staleness waits for everybody in, where sums are kept: what words left out,
//!          x ← x − aggregate
//! tell     the model, or in a code what it has moved by since this worker was told
//! ```

use super::errand::{Form, Job};
use super::session::Parts;
use crate::aggregate::{Aggregator, Gathering};
use crate::base::{Error, Layout, Reader, Result, State, Stream, Use, Writer, flat};
use crate::buffers::Buffers;
use crate::compress::{Coding, Compressor};
use crate::optim::{At, Chain, Optimizer, Transform};
use crate::participation::Served;
use crate::payload::Payload;
use crate::staleness::Staleness;
use crate::workload::{Start, Workload};

/// A word that has been heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Who said it.
    pub worker: usize,
    /// Whose data it is about.
    pub client: u64,
    /// Updates since its worker was given the model.
    pub delay: u64,
    /// What it counts.
    pub weight: f64,
    /// Local steps in it.
    pub steps: u64,
}

/// An update that has been made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Updates made, this one included.
    pub version: u64,
    /// Local steps of every worker so far, on average.
    pub steps: u64,
    /// The rate that the update was made at.
    pub rate: f64,
    /// Its words, in the order in which they came.
    pub words: Vec<Heard>,
    /// Whether everybody has come, and nobody is at work.
    pub everybody: bool,
    /// Whether that is because words may be no older: what words left out is said then, and the whole model told.
    pub gathered: bool,
}

/// What the server knows of a worker.
#[derive(Clone, Debug, Default)]
struct Desk {
    /// The version it was given.
    given: u64,
    /// Whom it plays.
    client: u64,
    /// Whether it is at work.
    busy: bool,
    /// Whether it has been told anything yet.
    begun: bool,
    /// The point it works from, where words are judged by how far the model is from it.
    at: Vec<f32>,
    /// What it has not been told, where it is told differences in a code.
    untold: Vec<f32>,
    buffers: Vec<f32>,
}

struct Kept {
    heard: Heard,
    said: Vec<f32>,
}

/// The server of a run.
pub struct Server {
    served: Served,
    staleness: Staleness,
    payload: Payload,
    optimizer: Optimizer,
    outer: Chain,
    compressor: Box<dyn Compressor>,
    down: Option<Box<dyn Compressor>>,
    aggregator: Box<dyn Aggregator>,
    buffer_rule: Buffers,
    layout: Layout,
    seed: u64,
    total: u64,
    /// Rows of every client.
    rows: Vec<f32>,
    /// Whether feedback at the workers owes something that can be flushed.
    owes: bool,
    // What the run is at.
    model: Vec<f32>,
    version: u64,
    /// Local steps in all words so far.
    received: u64,
    desks: Vec<Desk>,
    /// Pieces of work and steps of every client so far.
    clients: Vec<(u64, u64)>,
    kept: Vec<Kept>,
    spare: Vec<Vec<f32>>,
    agreed: Vec<f32>,
    update: Vec<f32>,
}

impl Server {
    /// The server of `workers` workers at the start of a run of `total` local steps each.
    pub fn new(mut parts: Parts, workload: &dyn Workload, seed: u64, workers: usize, total: u64) -> Result<Self> {
        let served =
            parts.participation.served().ok_or_else(|| Error::request("rounds of everybody need no server"))?;
        parts.participation.fits(workers)?;
        if served.waits && served.count > workers {
            return Err(Error::request(format!(
                "`participation.count` is {}, but {workers} workers run; lower it, or raise --workers",
                served.count
            )));
        }
        let (layout, Start { parameters: model, buffers }) = (workload.layout().clone(), workload.start(seed));
        let clients = parts.participation.clients(workers);
        parts.optimizer.anneal.over(Some(total));
        let zeros = vec![0.0; model.len()];
        let desk = |worker: usize| Desk {
            client: worker as u64,
            untold: if parts.down.is_some() { zeros.clone() } else { Vec::new() },
            buffers: buffers.clone(),
            ..Desk::default()
        };
        Ok(Self {
            served,
            staleness: parts.staleness,
            payload: parts.payload,
            owes: !parts.feedback.own().is_empty(),
            optimizer: parts.optimizer,
            outer: parts.outer.into_iter().next().unwrap_or_default(),
            compressor: parts.compressor,
            desks: (0..workers).map(desk).collect(),
            down: parts.down,
            aggregator: parts.aggregator,
            buffer_rule: parts.buffers,
            seed,
            total: total.saturating_mul(workers as u64),
            rows: (0..clients as u64).map(|client| workload.rows(client) as f32).collect(),
            layout,
            model,
            version: 0,
            received: 0,
            clients: vec![(0, 0); clients],
            kept: Vec::new(),
            spare: Vec::new(),
            agreed: zeros.clone(),
            update: zeros,
        })
    }

    /// Begins from another model than the problem's own.
    pub fn begin_from(&mut self, start: &Start) -> Result<()> {
        self.layout.expect("the model to start from", &start.parameters)?;
        self.model.copy_from_slice(&start.parameters);
        for desk in &mut self.desks {
            desk.buffers.clone_from(&start.buffers);
        }
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &[f32] {
        &self.model
    }

    /// The model with the mean of the buffers that workers told last: what an evaluation uses.
    pub fn evaluated(&self) -> Start {
        Start { parameters: self.model.clone(), buffers: self.mean_buffers() }
    }

    /// Updates made and local steps of every worker so far, on average.
    pub fn position(&self) -> (u64, u64) {
        (self.version, self.steps())
    }

    /// Whether all steps are done.
    pub fn finished(&self) -> bool {
        self.received >= self.total && self.kept.is_empty()
    }

    /// Who is at work.
    pub fn busy(&self) -> Vec<usize> {
        (0..self.desks.len()).filter(|worker| self.desks[*worker].busy).collect()
    }

    /// For every worker that is at work, the updates since it was given the model.
    pub fn ages(&self) -> Vec<u64> {
        self.desks.iter().filter(|desk| desk.busy).map(|desk| self.version - desk.given).collect()
    }

    /// Whether workers tell what words left out after updates that everybody was gathered for.
    pub fn flushes(&self) -> bool {
        matches!(self.staleness, Staleness::Bounded(_)) && self.owes && self.sums()
    }

    /// Whether two words that say the same move twice as much as one.
    fn sums(&self) -> bool {
        self.aggregator.gain(4.0, 4.0) > self.aggregator.gain(2.0, 2.0)
    }

    fn steps(&self) -> u64 {
        self.received / self.desks.len() as u64
    }

    /// Whether everybody is gathered for this update, counted from 0, as words may be no older; or as it is the last.
    fn gathers(&self, update: u64) -> bool {
        let last = matches!(self.staleness, Staleness::Bounded(_)) && self.received >= self.total;
        self.staleness.gathers(update) || last
    }

    /// How many words the update that is being gathered waits for.
    fn needs(&self) -> usize {
        if self.gathers(self.version) { self.desks.len() } else { self.served.count }
    }

    /// Hears a word; an update where it was the last that one waits for. Who has spoken is no longer at work.
    pub fn hear(&mut self, worker: usize, bytes: &[u8]) -> Result<Option<Update>> {
        let name = |e: Error| e.within(format!("from worker {worker}"));
        let workers = self.desks.len();
        let desk = self.desks.get_mut(worker).filter(|desk| desk.busy);
        let desk = desk.ok_or_else(|| Error::mismatch(format!("worker {worker} spoke without being asked")))?;
        let mut said = self.spare.pop().unwrap_or_default();
        said.resize(self.model.len(), 0.0);
        let mut body = Reader::open(bytes).map_err(name)?;
        let mut next = || body.varint().map_err(name);
        let (index, steps, len) = (next()?, next()?, next()?);
        let client = &mut self.clients[desk.client as usize];
        if index != client.0 || len != said.len() as u64 || !(1..=self.total).contains(&steps) {
            return Err(name(Error::mismatch(format!(
                "piece of work {index} of {steps} steps and {len} entries came, expected piece {} of 1 to {} steps and {} \
                 entries",
                client.0,
                self.total,
                said.len()
            ))));
        }
        self.compressor.decode(&mut body, &self.layout, &mut said).map_err(name)?;
        body.done().map_err(name)?;
        *client = (index + 1, client.1 + steps);
        desk.busy = false;
        let delay = self.version - desk.given;
        let moved = || flat::distance(&self.model, &desk.at);
        let weight = self.staleness.weight(delay, workers, moved);
        self.received += steps;
        let heard = Heard { worker, client: desk.client, delay, weight, steps };
        self.kept.push(Kept { heard, said });
        if self.kept.len() < self.needs() { Ok(None) } else { self.update().map(Some) }
    }

    /// Moves the model by the words that are kept.
    fn update(&mut self) -> Result<Update> {
        // Rates are those of the steps before these words, as they are in a round.
        let fresh: u64 = self.kept.iter().map(|kept| kept.heard.steps).sum();
        let step = (self.received - fresh) / self.desks.len() as u64;
        let rate = self.optimizer.anneal.rate(step);
        let words: Vec<Heard> = self.kept.iter().map(|kept| kept.heard).collect();
        self.kept.sort_by_key(|kept| kept.heard.client);
        let counted = self.kept.iter().filter(|kept| kept.heard.weight > 0.0).count();
        if counted > 0 {
            self.aggregator.begin(&self.gathering(counted))?;
            for Kept { heard, said } in self.kept.iter_mut().filter(|kept| kept.heard.weight > 0.0) {
                if heard.weight != 1.0 {
                    flat::scale(said, heard.weight as f32);
                }
                self.aggregator.add(said, self.rows.get(heard.client as usize).copied().unwrap_or(1.0));
            }
            self.aggregator.finish(&mut self.agreed);
            self.step(rate, step)?;
        }
        self.spare.extend(self.kept.drain(..).map(|kept| kept.said));
        let gathered = self.gathers(self.version);
        self.version += 1;
        let everybody = self.desks.iter().all(|desk| !desk.busy);
        Ok(Update { version: self.version, steps: self.steps(), rate, words, everybody, gathered })
    }

    fn gathering(&self, voices: usize) -> Gathering {
        let expected = self.served.count as f64;
        Gathering { len: self.model.len(), voices, expected, seed: self.seed, round: self.version }
    }

    /// The optimizer or the outer step along what was agreed, as at the end of a round.
    fn step(&mut self, rate: f64, step: u64) -> Result<()> {
        if self.payload == Payload::Gradient {
            self.update.copy_from_slice(&self.agreed);
            let at = At::new(&self.model, &self.agreed, rate, step, &self.layout);
            self.optimizer.chain.apply(&at, &mut self.update);
            std::mem::swap(&mut self.agreed, &mut self.update);
        }
        self.update.copy_from_slice(&self.agreed);
        let at = At::new(&self.model, &self.agreed, rate, step, &self.layout);
        self.outer.apply(&at, &mut self.update);
        self.go()
    }

    /// x ← x − u; everybody is owed u.
    fn go(&mut self) -> Result<()> {
        crate::exchange::refuse_unfinite(&self.update)?;
        flat::subtract(&mut self.model, &self.update);
        for desk in &mut self.desks {
            if !desk.untold.is_empty() {
                flat::add(&mut desk.untold, &self.update);
            }
        }
        Ok(())
    }

    /// Moves the model by what every worker's words left out, one message a worker, in their order. Everybody is told
    /// the whole model next.
    pub fn flush(&mut self, residuals: &[Vec<u8>]) -> Result<()> {
        self.aggregator.begin(&self.gathering(residuals.len()))?;
        for (worker, bytes) in residuals.iter().enumerate() {
            let mut body = Reader::open(bytes).map_err(|e| e.within(format!("from worker {worker}")))?;
            body.f32s(&mut self.agreed)?;
            body.done()?;
            self.aggregator.add(&self.agreed, self.rows.get(worker).copied().unwrap_or(1.0));
        }
        self.aggregator.finish(&mut self.update);
        self.go()
    }

    /// Takes a worker's buffers.
    pub fn hear_buffers(&mut self, worker: usize, bytes: &[u8]) -> Result<()> {
        let desk = self.desks.get_mut(worker).ok_or_else(|| Error::mismatch(format!("there is no worker {worker}")))?;
        let mut body = Reader::open(bytes).map_err(|e| e.within(format!("from worker {worker}")))?;
        body.f32s(&mut desk.buffers)?;
        body.done()
    }

    fn mean_buffers(&self) -> Vec<f32> {
        let mut mean = self.desks[0].buffers.clone();
        self.desks[1..].iter().for_each(|desk| flat::add(&mut mean, &desk.buffers));
        flat::divide(&mut mean, self.desks.len() as f32);
        mean
    }

    /// Sends a worker back to work: what it is told, and the buffers that go along. After an update that everybody was
    /// gathered for the whole model repairs what codes left out.
    pub fn tell(&mut self, worker: usize, out: &mut Writer, buffers: &mut Vec<f32>) -> Result<()> {
        let turn = self.turn();
        let client = self.engage(worker, turn);
        let (index, draws) = self.clients[client as usize];
        let whole = self.down.is_none() || (self.version > 0 && self.gathers(self.version - 1));
        let desk = &self.desks[worker];
        let form = match (desk.begun, whole) {
            (false, _) => Form::Same,
            (true, true) => Form::Whole,
            (true, false) => Form::Difference,
        };
        let step = self.steps();
        Job { version: self.version, step, client, index, draws, form }.write(out);
        let desk = &mut self.desks[worker];
        match form {
            Form::Same => {}
            Form::Whole => {
                out.f32s(&self.model);
                desk.untold.fill(0.0);
            }
            Form::Difference => {
                let Some(down) = &mut self.down else { return Err(Error::request("no code for differences")) };
                // By the turn, not the version: who comes twice between two updates is not told the same entries twice.
                let stream = Stream::new(self.seed, Use::Down, worker as u64, turn);
                let shared = Stream::new(self.seed, Use::Shared, 0, turn);
                let body = out.bytes().len();
                down.encode(&desk.untold, &Coding { layout: &self.layout, stream: &stream, shared: &shared }, out)?;
                down.decode(&mut Reader::new(&out.bytes()[body..]), &self.layout, &mut self.agreed)?;
                flat::subtract(&mut desk.untold, &self.agreed);
            }
        }
        out.seal(0);
        desk.begun = true;
        desk.busy = true;
        desk.given = self.version;
        if self.staleness.looks_back() {
            // What a code has left untold the worker's model still has.
            desk.at.clone_from(&self.model);
            if !desk.untold.is_empty() {
                flat::add(&mut desk.at, &desk.untold);
            }
        }
        buffers.clear();
        if form != Form::Same && self.buffer_rule == Buffers::Average {
            buffers.extend(self.mean_buffers());
        }
        Ok(())
    }

    /// How many pieces of work have been given out.
    fn turn(&self) -> u64 {
        self.clients.iter().map(|(jobs, _)| jobs).sum::<u64>() + self.busy().len() as u64
    }

    /// Whom a worker plays next: itself, or a client that nobody plays, drawn uniformly.
    fn engage(&mut self, worker: usize, turn: u64) -> u64 {
        if self.served.clients > 0 {
            let mut stream = Stream::new(self.seed, Use::Participation, worker as u64, turn);
            let taken =
                |client| self.desks.iter().enumerate().any(|(w, d)| w != worker && d.busy && d.client == client);
            let mut client = stream.below(self.clients.len() as u64);
            while taken(client) {
                client = stream.below(self.clients.len() as u64);
            }
            self.desks[worker].client = client;
        }
        self.desks[worker].client
    }

    /// Everything the server remembers while every worker has spoken.
    pub fn save(&self) -> State {
        let mut state = State::default();
        state.put("model", &self.model);
        state.put_numbers("position", &[self.version, self.received]);
        state
            .put_numbers("clients", &self.clients.iter().flat_map(|(jobs, steps)| [*jobs, *steps]).collect::<Vec<_>>());
        for (worker, desk) in self.desks.iter().enumerate() {
            let name = |what: &str| format!("worker-{worker}/{what}");
            state.put_numbers(&name("desk"), &[desk.given, desk.client, u64::from(desk.busy), u64::from(desk.begun)]);
            for (what, vector) in [("at", &desk.at), ("untold", &desk.untold), ("buffers", &desk.buffers)] {
                state.put(&name(what), vector);
            }
        }
        for (i, Kept { heard, said }) in self.kept.iter().enumerate() {
            let numbers = [heard.worker as u64, heard.client, heard.delay, heard.weight.to_bits(), heard.steps];
            state.put_numbers(&format!("kept-{i:06}"), &numbers);
            state.put(&format!("kept-{i:06}"), said);
        }
        let part = |save: &dyn Fn(&mut State)| {
            let mut inner = State::default();
            save(&mut inner);
            inner
        };
        state.put_all("optim", part(&|s| self.optimizer.chain.save(s)));
        state.put_all("outer", part(&|s| self.outer.save(s)));
        state.put_all("aggregate", part(&|s| self.aggregator.save(s)));
        state.put_all("compress", part(&|s| self.compressor.save(s)));
        if let Some(down) = &self.down {
            state.put_all("down", part(&|s| down.save(s)));
        }
        state
    }

    /// Takes it back.
    pub fn load(&mut self, state: &State) -> Result<()> {
        state.take("model", &mut self.model)?;
        [self.version, self.received] = state.take_numbers("position")?;
        let clients = state.numbers.get("clients").filter(|all| all.len() == 2 * self.clients.len());
        let clients = clients.ok_or_else(|| Error::mismatch("the checkpoint is of another number of clients"))?;
        self.clients = clients.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        for (worker, desk) in self.desks.iter_mut().enumerate() {
            let part = state.part(&format!("worker-{worker}"));
            let [given, client, busy, begun] = part.take_numbers("desk")?;
            (desk.given, desk.client, desk.busy, desk.begun) = (given, client, busy == 1, begun == 1);
            for (what, vector) in [("at", &mut desk.at), ("untold", &mut desk.untold), ("buffers", &mut desk.buffers)] {
                vector.clone_from(part.vectors.get(what).ok_or_else(|| {
                    Error::mismatch(format!("the checkpoint has no vector `{what}` of worker {worker}"))
                })?);
            }
        }
        self.kept.clear();
        for (name, said) in state.vectors.iter().filter(|(name, _)| name.starts_with("kept-")) {
            let [worker, client, delay, weight, steps] = state.take_numbers(name)?;
            let (worker, weight) = (worker as usize, f64::from_bits(weight));
            self.kept.push(Kept { heard: Heard { worker, client, delay, weight, steps }, said: said.clone() });
        }
        self.optimizer.chain.load(&state.part("optim"), &self.layout)?;
        self.outer.load(&state.part("outer"), &self.layout)?;
        self.aggregator.load(&state.part("aggregate"), &self.layout)?;
        self.compressor.load(&state.part("compress"), &self.layout)?;
        if let Some(down) = &mut self.down {
            down.load(&state.part("down"), &self.layout)?;
        }
        Ok(())
    }
}
