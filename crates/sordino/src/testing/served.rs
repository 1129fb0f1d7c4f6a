//! Whole runs with a server that serves whoever comes, kept update by update.

use std::sync::{Arc, Mutex};

use super::trial::Trial;
use crate::base::{Error, Ledger, Result, State};
use crate::engine::{Serving, Session, Update, Word, Worker};
use crate::fabric::{
    Clock, Medium, Metered, Port, SimClock, SimPort, Still, ThreadPort, World, connect, on_threads, simulate,
};
use crate::recipe;
use crate::workload::Workload;

/// What a run with a server was.
#[derive(Clone, Debug, Default)]
pub struct ServedRun {
    /// The model at the start and after every update.
    pub models: Vec<Vec<f32>>,
    /// Every update.
    pub updates: Vec<Update>,
    /// The duality gap after every update of everybody, where local work can tell it.
    pub gaps: Vec<f64>,
    /// The order in which workers came.
    pub order: Vec<usize>,
    /// Ages of what was being worked on at the end.
    pub ages: Vec<u64>,
    /// Everything that moved.
    pub ledger: Ledger,
    /// What every rank remembered where the run was broken off; the server's is the last.
    pub states: Vec<State>,
    /// What every worker remembered at the end.
    pub workers: Vec<State>,
    /// The server's clock at the end.
    pub seconds: f64,
}

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Hears workers in this order.
    pub replay: Option<Vec<usize>>,
    /// Breaks off after so many updates, and remembers.
    pub until: Option<u64>,
    /// Goes on from what ranks remember.
    pub from: Option<Vec<State>>,
    /// Saves, and goes on, after this update.
    pub save_after: Option<u64>,
}

type Seat = (Box<dyn Port>, Arc<dyn Clock>);

/// Where a rank leaves what it remembers.
type Keep<'a> = dyn Fn(usize, State) + 'a;

impl Trial<'_> {
    /// The whole run of a recipe whose participation is served; `how` makes it another way.
    pub fn served(&self, how: &Served) -> Result<ServedRun> {
        recipe::check(self.recipe)?;
        let states = Mutex::new(vec![State::default(); self.workers + 1]);
        let keep = |rank: usize, state: State| {
            if let Ok(mut states) = states.lock() {
                states[rank] = state;
            }
        };
        let run = on_threads(self.seats()?, |seat| self.served_by(seat, how, &keep))?;
        let mut ranks = run;
        let (mut served, _) = ranks.pop().ok_or_else(|| Error::request("a run without ranks"))?;
        served.workers = ranks.into_iter().map(|(_, state)| state).collect();
        served.states = states.into_inner().unwrap_or_default();
        Ok(served)
    }

    /// What the rank at `port` sees of such a run: the last rank serves and has all of it, the others work and have nothing.
    pub fn served_at(&self, port: Box<dyn Port>, how: &Served) -> Result<ServedRun> {
        recipe::check(self.recipe)?;
        let still: Arc<dyn Clock> = Arc::new(Still);
        Ok(self.served_by((Box::new(Metered::new(port, still.clone())), still), how, &|_, _| {})?.0)
    }

    fn served_by(&self, (port, clock): Seat, how: &Served, keep: &Keep) -> Result<(ServedRun, State)> {
        let rank = port.rank();
        let parts = self.recipe.build(Arc::clone(&clock))?;
        let workload = self.task.workload(parts.participation.clients(self.workers), self.seed)?;
        let mut workload = self.recipe.wrap(workload)?;
        let from = how.from.as_ref().map(|states| &states[rank]);
        if rank == self.workers {
            let mut serving = Serving::new(parts, &*workload, self.seed, self.steps, port)?;
            if let Some(state) = from {
                serving.load(state)?;
            }
            let mut run = serve(&mut serving, how, keep)?;
            run.seconds = clock.now();
            return Ok((run, State::default()));
        }
        let worker = Worker::new(parts, &*workload, self.seed, rank, self.workers, Some(self.steps));
        let mut session = Session::new(worker, port);
        if let Some(state) = from {
            session.load(state, &mut *workload)?;
        }
        work(&mut session, &mut *workload, keep)?;
        Ok((ServedRun::default(), session.save(&*workload)?))
    }

    fn seats(&self) -> Result<Vec<Seat>> {
        let size = self.workers + 1;
        Ok(match self.recipe.medium()? {
            Medium::Threads(_) => {
                let seat = |port| -> Seat { (Box::new(Metered::new(port, Arc::new(Still))), Arc::new(Still)) };
                connect(size).into_iter().map(seat).collect()
            }
            Medium::Sim(world) => {
                let clients = self.recipe.participation()?.clients(self.workers) as u64;
                let seat = |(port, clock): (SimPort<ThreadPort>, Arc<SimClock>)| -> Seat {
                    (Box::new(Metered::new(port, clock.clone())), clock)
                };
                simulate(size, &World { clients, ..world }).into_iter().map(seat).collect()
            }
        })
    }
}

fn serve(serving: &mut Serving, how: &Served, keep: &Keep) -> Result<ServedRun> {
    let mut run = ServedRun { models: vec![serving.server().model().to_vec()], ..ServedRun::default() };
    if let Some(order) = &how.replay {
        serving.replay(order.iter().copied());
    }
    serving.begin(true)?;
    while let Some(update) = serving.serve()? {
        run.models.push(serving.server().model().to_vec());
        let (version, everybody) = (update.version, update.everybody);
        run.updates.push(update);
        if how.until == Some(version) || how.save_after == Some(version) {
            let rank = serving.notes().len();
            keep(rank, serving.save(b"there")?);
        }
        if everybody {
            run.gaps.extend(serving.gap()?);
        }
        if how.until == Some(version) {
            break;
        }
        if !serving.server().finished() {
            serving.answer()?;
        }
    }
    run.ages = serving.server().ages();
    run.order = serving.take_order();
    serving.stop()?;
    run.ledger = serving.ledger();
    Ok(run)
}

fn work(session: &mut Session, workload: &mut dyn Workload, keep: &Keep) -> Result<()> {
    loop {
        match session.listen()? {
            Word::Work => {
                session.errand(workload)?;
            }
            Word::Flush => session.flush()?,
            Word::Certify(model) => session.certify(workload, &model)?,
            Word::Save(_) => {
                let rank = session.worker().rank();
                keep(rank, session.save(workload)?);
                session.confirm()?;
            }
            Word::Stop => return Ok(()),
        }
    }
}
