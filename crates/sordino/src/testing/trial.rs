//! Whole runs on the threads fabric, kept round by round: what laws, references and golden traces compare.

use std::sync::Arc;

use crate::base::{Ledger, Result, State};
use crate::engine::{Seat, Session, Told};
use crate::fabric::{
    Clock, Medium, Metered, Port, SimClock, SimPort, Still, ThreadPort, World, connect, on_threads, simulate,
};
use crate::recipe::{self, Recipe};
use crate::workload::{Task, Workload};

/// A run to be made: a resolved recipe on a task, every rank a thread.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// The choices, resolved.
    pub recipe: &'a Recipe,
    /// What is trained.
    pub task: &'a dyn Task,
    /// How many ranks.
    pub workers: usize,
    /// The seed.
    pub seed: u64,
    /// The run's number of steps, known to every rank.
    pub steps: u64,
    /// At most that many rounds of it are made.
    pub rounds: u64,
}

/// What one round was on one rank.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the round told.
    pub told: Told,
    /// Where the silent steps led, before the meeting.
    pub point: Vec<f32>,
    /// What was given to the exchange.
    pub given: Vec<f32>,
    /// What this rank was understood to have said.
    pub said: Vec<f32>,
    /// The model after the round; of a pipelined network the whole.
    pub model: Vec<f32>,
    /// The buffers after the round.
    pub buffers: Vec<f32>,
    /// Everything the worker remembers after the round.
    pub state: State,
}

/// What a run was on one rank.
#[derive(Clone, Debug)]
pub struct Rank {
    /// The model before the first round.
    pub start: Vec<f32>,
    /// Round after round.
    pub rounds: Vec<Round>,
    /// What this rank sent.
    pub ledger: Ledger,
    /// Where this rank stands, in a pipelined run.
    pub seat: Option<Seat>,
}

impl Rank {
    /// The model at the start and after every round.
    pub fn models(&self) -> Vec<&[f32]> {
        std::iter::once(&self.start[..]).chain(self.rounds.iter().map(|r| &r.model[..])).collect()
    }

    /// The model at the end.
    pub fn last(&self) -> &[f32] {
        self.rounds.last().map_or(&self.start, |r| &r.model)
    }
}

impl<'a> Trial<'a> {
    /// A run of `steps` steps, made to its end.
    pub fn new(recipe: &'a Recipe, task: &'a dyn Task, workers: usize, seed: u64, steps: u64) -> Self {
        Self { recipe, task, workers, seed, steps, rounds: u64::MAX }
    }

    /// The session of the rank at `port`, with its share of the task.
    pub fn session(&self, port: Box<dyn Port>) -> Result<(Session, Box<dyn Workload>)> {
        self.timed(port, Arc::new(Still))
    }

    fn timed(&self, port: Box<dyn Port>, clock: Arc<dyn Clock>) -> Result<(Session, Box<dyn Workload>)> {
        recipe::check(self.recipe)?;
        let parts = self.recipe.build(clock)?;
        let clients = self.recipe.clients(self.workers, self.task.layers()?)?;
        let workload = self.task.workload(clients, self.seed)?;
        Session::join(parts, self.recipe.wrap(workload)?, port, self.seed, Some(self.steps))
    }

    /// Runs `work` with every rank's session, over ports that `wrap` may decorate; results in rank order.
    pub fn with<T: Send>(
        &self,
        wrap: impl Fn(ThreadPort) -> Box<dyn Port>,
        work: impl Fn(Session, Box<dyn Workload>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let ports: Vec<Box<dyn Port>> = connect(self.workers).into_iter().map(wrap).collect();
        on_threads(ports, |port| {
            let (session, workload) = self.session(port)?;
            work(session, workload)
        })
    }

    /// The whole run over ports that `wrap` may decorate, kept round by round; results in rank order.
    pub fn over(&self, wrap: impl Fn(ThreadPort) -> Box<dyn Port>) -> Result<Vec<Rank>> {
        self.with(wrap, |session, workload| self.keep(session, workload, None)).map(assembled)
    }

    /// The whole run, metered and kept round by round, in a simulated world where the recipe asks for one; results in
    /// rank order.
    pub fn run(&self) -> Result<Vec<Rank>> {
        self.metered(None)
    }

    /// What is left of a run whose ranks, of whatever number, remember `states`.
    pub fn resume(&self, states: &[State]) -> Result<Vec<Rank>> {
        self.metered(Some(states))
    }

    fn metered(&self, from: Option<&[State]>) -> Result<Vec<Rank>> {
        type Seat = (Box<dyn Port>, Arc<dyn Clock>);
        let seats: Vec<Seat> = match self.recipe.medium()? {
            Medium::Threads(_) => {
                let seat = |port| -> Seat { (Box::new(Metered::new(port, Arc::new(Still))), Arc::new(Still)) };
                connect(self.workers).into_iter().map(seat).collect()
            }
            Medium::Sim(world) => {
                let clients = self.recipe.participation()?.clients(self.workers) as u64;
                let seat = |(port, clock): (SimPort<ThreadPort>, Arc<SimClock>)| -> Seat {
                    (Box::new(Metered::new(port, clock.clone())), clock)
                };
                simulate(self.workers, &World { clients, ..world }).into_iter().map(seat).collect()
            }
        };
        on_threads(seats, |(port, clock)| {
            let (session, workload) = self.timed(port, clock)?;
            self.keep(session, workload, from)
        })
        .map(assembled)
    }

    fn keep(&self, mut session: Session, mut workload: Box<dyn Workload>, from: Option<&[State]>) -> Result<Rank> {
        if let Some(states) = from {
            session.load_from(states, &mut *workload)?;
        }
        let start = session.worker().model().to_vec();
        let mut rounds = Vec::new();
        while !session.done() && session.worker().position().0 < self.rounds {
            session.open()?;
            session.spend(&mut *workload)?;
            let point = session.worker().point().to_vec();
            let told = session.meet(&mut *workload, 0)?;
            let state = session.save(&*workload)?;
            let worker = session.worker();
            rounds.push(Round {
                told,
                point,
                given: worker.offer().to_vec(),
                said: worker.said().to_vec(),
                model: worker.model().to_vec(),
                buffers: worker.buffers().to_vec(),
                state,
            });
        }
        let ledger = session.metered(|meter| meter.ledger.clone()).unwrap_or_default();
        Ok(Rank { start, rounds, ledger, seat: session.seat().cloned() })
    }
}

/// Puts the whole network of every copy together from what its workers hold, at the start and after every round.
fn assembled(mut ranks: Vec<Rank>) -> Vec<Rank> {
    let parts = ranks.clone();
    for rank in &mut ranks {
        let Some(seat) = &rank.seat else { continue };
        let whole = |of: &dyn Fn(&Rank) -> Vec<f32>| {
            let mut whole = vec![0.0; seat.whole().len()];
            let copy = parts.iter().filter_map(|part| Some((part.seat.as_ref()?, part)));
            for (theirs, part) in copy.filter(|(theirs, _)| theirs.copy() == seat.copy()) {
                theirs.put(&of(part), &mut whole);
            }
            whole
        };
        rank.start = whole(&|part| part.start.clone());
        for (i, round) in rank.rounds.iter_mut().enumerate() {
            round.model = whole(&|part| part.rounds[i].model.clone());
        }
    }
    ranks
}
