//! An experiment: a recipe on a task with so many workers, recorded, checkpointed, resumed.
//!
//! [`run`] drives all ranks on threads of this process; [`take_part`] drives the one rank of a process. Deciding is the
//! library's: this room only asks it for rounds, looks at the model now and then, and writes files.

mod files;
mod piped;
mod rank;
mod regroup;
mod served;
mod slowed;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sordino::base::{Kind, Layout};
use sordino::fabric::{
    Clock, Group, Medium, Metered, Parting, Port, Shared, SimClock, World, connect, on_threads, simulate,
};
use sordino::recipe::Recipe;
use sordino::workload::{Start, Task};
use sordino::{Error, Result};

pub use files::{Header, KEYS};
pub use piped::measure;
use rank::work;
pub use served::arrivals;

use self::slowed::slowed;
use crate::record::{Point, Summary};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The choices, resolved and checked.
    pub recipe: Recipe,
    /// How many workers.
    pub workers: usize,
    /// The run's seed.
    pub seed: u64,
    /// Local steps of each worker.
    pub steps: u64,
    /// Rows that one step of one worker looks at (for counting epochs).
    pub batch_rows: usize,
    /// Stop once the training loss is at most this.
    pub until_loss: Option<f64>,
    /// Look at the model every so many rounds, and at the end.
    pub eval_every: u64,
    /// Checkpoint every so many rounds (and every ten seconds, whichever is first); `None` for the latter alone.
    pub checkpoint_every: Option<u64>,
    /// Where files go; `None` writes none.
    pub out: Option<PathBuf>,
    /// Go on from the checkpoint in `out`.
    pub resume: bool,
    /// Hears workers that come at their own pace in this order, which a record holds.
    pub replay: Option<Vec<usize>>,
    /// Words for `recipe.toml` beside the recipe, such as the data's path.
    pub header: Header,
    /// Words for the summary: versions, machine.
    pub environment: BTreeMap<String, String>,
    /// Processor cores of the machine.
    pub cores: usize,
}

/// What can be seen after every round, on rank 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Local steps done.
    pub steps: u64,
    /// Of so many.
    pub total: u64,
    /// Rounds done.
    pub rounds: u64,
    /// Mean mini-batch loss of rank 0 over the last round.
    pub loss: f64,
    /// Held-out accuracy when last looked at.
    pub accuracy: Option<f64>,
    /// What has been spent of privacy so far.
    pub epsilon: Option<f64>,
}

/// Sees every event and changes nothing but when the run ends.
pub trait Observer: Sync {
    /// After every round.
    fn round(&self, _progress: &Progress) {}

    /// After every look at the model.
    fn point(&self, _point: &Point) {}

    /// Whether the run should end after this round, saved.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Observer for Nobody {}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it came to.
    pub summary: Summary,
    /// Its record.
    pub points: Vec<Point>,
    /// The model's tensors.
    pub layout: Layout,
    /// The model and buffers that the last evaluation used.
    pub model: Start,
    /// Whether it ended before its last step, on request.
    pub interrupted: bool,
}

/// Runs all ranks on threads of this process.
///
/// Divergence is a finding: the run ends with `summary.diverged` set, everything recorded up to then kept.
pub fn run(task: &dyn Task, plan: &Plan, clock: &Arc<dyn Clock>, observer: &dyn Observer) -> Result<Ended> {
    if plan.workers == 0 {
        return Err(Error::request("a run needs at least one worker, 0 came; use --workers 4"));
    }
    let desk = rank::Desk::open(task, plan)?;
    let ran = on_threads(ends(plan, clock)?, |(port, clock)| match plan.recipe.participation()?.served() {
        None => work(task, plan, port, &clock, observer, &desk),
        Some(_) if port.rank() == plan.workers => served::serve(task, plan, port, &clock, observer, &desk),
        Some(_) => served::come(task, plan, port, &clock, &desk),
    });
    match ran {
        Ok(_) => desk.close(plan, false),
        Err(e) if e.kind() == Kind::Diverged => desk.close(plan, true),
        Err(e) => Err(e),
    }
}

/// Drives this process's rank of a run whose ranks are processes, over a port to all of them. What the run came to is
/// known to process 0 alone: it keeps the record, and hosts the server where workers come to one at their own pace.
/// Afterwards the same processes may take part in another run.
///
/// # Errors
/// Those of this rank, or of another that has left; the port is of no use then.
pub fn take_part(
    task: &dyn Task,
    plan: &Plan,
    port: Shared,
    clock: &Arc<dyn Clock>,
    observer: &dyn Observer,
) -> Result<Option<Ended>> {
    let mut port = Parting::new(port);
    let (first, opened) = (port.rank() == 0, open(task, plan, &port));
    let ran = opened.map(|desk| (one_of_many(task, plan, &port, clock, observer, &desk), desk));
    let (ran, desk) = match ran {
        Ok(ran) => ran,
        Err(why) => {
            port.leave(&why);
            return Err(why);
        }
    };
    let diverged = match ran {
        Ok(()) => false,
        Err(why) => {
            port.leave(&why);
            if why.kind() != Kind::Diverged {
                return Err(why);
            }
            true
        }
    };
    port.end()?;
    if first { desk.close(plan, diverged).map(Some) } else { Ok(None) }
}

/// Opens the record in process 0, and what a run begins from in the others.
fn open(task: &dyn Task, plan: &Plan, port: &dyn Port) -> Result<rank::Desk> {
    plan.over(port.size())?;
    if port.rank() == 0 { rank::Desk::open(task, plan) } else { rank::Desk::read(task, plan) }
}

fn one_of_many(
    task: &dyn Task,
    plan: &Plan,
    port: &Parting<Shared>,
    clock: &Arc<dyn Clock>,
    observer: &dyn Observer,
    desk: &rank::Desk,
) -> Result<()> {
    let participation = plan.recipe.participation()?;
    let Medium::Threads(slow) = plan.recipe.medium()? else { return Err(one_process()) };
    let clock = &slowed(clock, slow, participation.clients(plan.workers));
    if participation.served().is_none() {
        return work(task, plan, Box::new(Metered::new(port.clone(), Arc::clone(clock))), clock, observer, desk);
    }
    // The server is the last of the ranks.
    let (process, members) = (port.rank(), (1..port.size()).chain([0]).collect());
    let group = Group::new(Shared::new(Box::new(port.clone())), members)?;
    let port = Box::new(Metered::new(group, Arc::clone(clock)));
    if process == 0 {
        served::serve(task, plan, port, clock, observer, desk)
    } else {
        served::come(task, plan, port, clock, desk)
    }
}

fn one_process() -> Error {
    Error::request(
        "fabric=sim computes all ranks in one process; start one, without a launcher, or leave fabric=sim out",
    )
}

impl Plan {
    /// Refuses a run that so many processes cannot make together.
    pub fn over(&self, processes: usize) -> Result<()> {
        let ranks = self.ranks()?;
        if processes != ranks {
            return Err(Error::request(format!(
                "{processes} processes came for a run of {ranks} ranks ({} workers{}); start {ranks}",
                self.workers,
                if ranks > self.workers { " and a server" } else { "" }
            )));
        }
        if matches!(self.recipe.medium()?, Medium::Threads(_)) { Ok(()) } else { Err(one_process()) }
    }

    /// How many ranks there are: the workers, and a server where they come to one at their own pace.
    pub fn ranks(&self) -> Result<usize> {
        Ok(self.workers + usize::from(self.recipe.participation()?.served().is_some()))
    }
}

/// One rank's end of the fabric, with the clock it goes by.
type End = (Box<dyn Port>, Arc<dyn Clock>);

/// Every rank's end of the fabric, with the clock it goes by: the one that is given, on which some may really be slow, or
/// a virtual one of its own.
///
/// Federated clients have links of their own, by which the virtual clock tells when they report; the ranks that play
/// them then talk in no time.
fn ends(plan: &Plan, clock: &Arc<dyn Clock>) -> Result<Vec<End>> {
    fn end(port: impl Port + 'static, clock: Arc<dyn Clock>) -> End {
        (Box::new(Metered::new(port, Arc::clone(&clock))), clock)
    }
    let (participation, ranks) = (plan.recipe.participation()?, plan.ranks()?);
    Ok(match plan.recipe.medium()? {
        Medium::Threads(slow) => {
            let clock = slowed(clock, slow, participation.clients(plan.workers));
            connect(ranks).into_iter().map(|port| end(port, Arc::clone(&clock))).collect()
        }
        Medium::Sim(world) if participation.federated() => {
            let world = World { clients: participation.clients(plan.workers) as u64, ..world };
            let clock = || Arc::new(SimClock::new(&world, plan.workers));
            connect(plan.workers).into_iter().map(|port| end(port, clock())).collect()
        }
        Medium::Sim(world) => {
            // A server is nobody's machine: it is not one of those that may be slow.
            let world = World { clients: participation.clients(plan.workers) as u64, ..world };
            simulate(ranks, &world).into_iter().map(|(port, clock)| end(port, clock)).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use sordino::fabric::Still;
    use sordino::recipe::{Defaults, check};
    use sordino::workload::{Deal, Logistic, Made, Quadratic, Ridge, SparseRows};

    use super::*;

    #[derive(Default)]
    struct Counter {
        rounds: AtomicU64,
        points: AtomicU64,
    }

    impl Observer for Counter {
        fn round(&self, _: &Progress) {
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }

        fn point(&self, _: &Point) {
            self.points.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn plan(row: &str) -> Plan {
        let mut recipe = Recipe::named(row).unwrap();
        recipe.resolve(&Defaults::default()).unwrap();
        check(&recipe).unwrap();
        Plan {
            recipe,
            workers: 3,
            seed: 2,
            steps: 40,
            batch_rows: 1,
            until_loss: None,
            eval_every: 4,
            checkpoint_every: None,
            out: None,
            resume: false,
            replay: None,
            header: Header::default(),
            environment: BTreeMap::new(),
            cores: 0,
        }
    }

    #[test]
    fn a_run_that_is_watched_is_the_run_that_is_not() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        for row in ["qsr", "saef", "def", "ef21"] {
            let counter = Counter::default();
            let watched = run(&task, &plan(row), &clock, &counter).unwrap();
            let alone = run(&task, &plan(row), &clock, &Nobody).unwrap();
            assert_eq!(watched.model, alone.model, "{row}");
            // As text: what was not measured is NaN, which equals nothing.
            assert_eq!(format!("{:?}", watched.summary), format!("{:?}", alone.summary), "{row}");
            assert_eq!(counter.rounds.load(Ordering::Relaxed), watched.summary.rounds);
            assert_eq!(counter.points.load(Ordering::Relaxed) + 1, watched.points.len() as u64);
        }
    }

    #[test]
    fn how_often_a_run_is_looked_at_changes_nothing_but_the_record() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let often = run(&task, &plan("def"), &clock, &Nobody).unwrap();
        let seldom = run(&task, &Plan { eval_every: 1000, ..plan("def") }, &clock, &Nobody).unwrap();
        assert_eq!(often.model, seldom.model);
        assert!(often.points.len() > seldom.points.len());
        assert_eq!(often.summary.bytes(), seldom.summary.bytes());
    }

    #[test]
    fn a_run_without_workers_is_refused() {
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let refused = run(&Quadratic::default(), &Plan { workers: 0, ..plan("qsr") }, &clock, &Nobody).unwrap_err();
        assert!(refused.to_string().contains("--workers 4"));
    }

    /// A plan of `row` with choices on top.
    fn with(row: &str, sets: &[&str]) -> Plan {
        let mut recipe = Recipe::named(row).unwrap();
        sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
        recipe.resolve(&Defaults::default()).unwrap();
        check(&recipe).unwrap();
        Plan { recipe, ..plan("sync-sgd") }
    }

    #[test]
    fn a_simulated_world_changes_the_seconds_and_not_the_model() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        for row in ["qsr", "fedavg"] {
            let on = |fabric: &str| run(&task, &with(row, &[&format!("fabric={fabric}")]), &clock, &Nobody).unwrap();
            let (threads, sim) = (on("threads"), on("sim(step=0.1, rate=1e6)"));
            assert_eq!(threads.model, sim.model, "{row}");
            assert_eq!(threads.summary.bytes(), sim.summary.bytes(), "{row}");
            assert_eq!((threads.summary.wall_seconds, threads.summary.simulated), (0.0, false));
            assert!(sim.summary.wall_seconds > 3.0 && sim.summary.simulated, "{row}: {}", sim.summary.wall_seconds);
            assert_eq!(format!("{:?}", on("sim(step=0.1, rate=1e6)").summary), format!("{:?}", sim.summary), "{row}");
        }
    }

    /// Stops after so many rounds.
    struct Stopper(AtomicU64, u64);

    impl Observer for Stopper {
        fn round(&self, _: &Progress) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn stop(&self) -> bool {
            self.0.load(Ordering::Relaxed) >= self.1
        }
    }

    #[test]
    fn words_that_travel_while_steps_go_on_save_their_seconds_and_a_stopped_run_goes_on() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let folder = std::env::temp_dir().join(format!("sordino-late-{}", std::process::id()));
        for (i, row) in ["local-sgd", "diloco", "ef-sgd"].into_iter().enumerate() {
            let of = |late: &str, fabric: &str| {
                let late = format!("staleness={late}");
                with(row, &["schedule=constant(4)", &late, &format!("fabric={fabric}")])
            };
            let on = |late, fabric| run(&task, &of(late, fabric), &clock, &Nobody).unwrap();
            let world = "sim(step=0.1, rate=1e6)";
            let (late, prompt) = (on("delayed(3)", world), on("fresh", world));
            assert_eq!(late.model, on("delayed(3)", "threads").model, "{row}");
            assert_eq!(late.summary.bytes(), prompt.summary.bytes(), "{row}");
            assert!(late.summary.wall_seconds < prompt.summary.wall_seconds, "{row}");
            assert_eq!((late.summary.rounds, late.summary.steps), (10, 40), "{row}");
            let first = Plan { out: Some(folder.join(i.to_string())), ..of("delayed(3)", world) };
            let stopped = run(&task, &first, &clock, &Stopper(AtomicU64::new(0), 5)).unwrap();
            assert!(stopped.interrupted && stopped.summary.rounds == 6, "{row}: {}", stopped.summary.rounds);
            assert_eq!(stopped.summary.steps, 27, "{row}: three steps of the next round are made");
            let ended = run(&task, &Plan { resume: true, ..first }, &clock, &Nobody).unwrap();
            assert_eq!(ended.model, late.model, "{row}");
            assert_eq!(ended.summary.bytes(), late.summary.bytes(), "{row}");
            // Where it was stopped it was looked at once more.
            let points = |ended: &Ended| ended.points.iter().filter(|p| p.round % 4 == 0).cloned().collect::<Vec<_>>();
            assert_eq!(format!("{:?}", points(&ended)), format!("{:?}", points(&late)), "{row}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_budget_of_privacy_ends_the_run_and_is_not_overdrawn() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let sets = |epsilon: &str| {
            let privacy = format!("privacy=gaussian(noise=3, clip=0.1, epsilon={epsilon})");
            run(&task, &with("sync-sgd", &[&privacy, "exchange=gather"]), &clock, &Nobody).unwrap().summary
        };
        let (some, whole) = (sets("6"), sets("60"));
        assert!(some.rounds > 1 && some.rounds < 40 && whole.rounds == 40, "{} {}", some.rounds, whole.rounds);
        assert!(some.epsilon.unwrap() <= 6.0 && some.epsilon.unwrap() > 5.0, "{:?}", some.epsilon);
        assert!(whole.epsilon.unwrap() > some.epsilon.unwrap());
        assert_eq!(sets("6").epsilon, some.epsilon, "epsilon depends on nothing that is drawn");
    }

    #[test]
    fn the_duality_gap_is_told_where_there_is_one_and_bounds_what_the_loss_can_fall_by() {
        let made = Made { rows: 90, features: 20, nonzeros: 4, noise: 0.3, signs: true, seed: 1 };
        let train = Arc::new(made.make().unwrap());
        let (name, deal) = ("ridge".into(), Deal::Iid);
        let task = Ridge { name, train, test: None, features: 20, deal, l2: 0.02, data: 1 };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let ran = |row: &str, sets: &[&str], steps: u64| {
            run(&task, &Plan { steps, eval_every: 1, ..with(row, sets) }, &clock, &Nobody).unwrap()
        };
        let best = ran("cocoa-plus", &[], 9000).summary.train_loss;
        for sets in [&[][..], &["compress=topk(0.2)", "feedback=residual(lambda=auto)", "exchange=gather"]] {
            let ended = ran("cocoa-plus", sets, 900);
            let gaps: Vec<f64> = ended.points.iter().map(|p| p.duality_gap.unwrap()).collect();
            assert!(gaps.iter().all(|gap| *gap >= 0.0) && gaps[gaps.len() - 1] < 1e-2 * gaps[0], "{gaps:?}");
            for point in &ended.points {
                assert!(point.train_loss - best <= point.duality_gap.unwrap() + 1e-9, "{point:?}");
            }
            assert_eq!(ended.summary.duality_gap, ended.points.last().unwrap().duality_gap);
            assert!((gaps[0] - 0.5).abs() < 1e-12, "at zero the gap is the mean of y²/2");
        }
        let none = ran("local-sgd", &[], 90);
        assert!(none.points.iter().all(|p| p.duality_gap.is_none()) && none.summary.duality_gap.is_none());
    }

    #[test]
    fn federated_points_tell_of_their_clients() {
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let shards = (0..12).map(|c| (10 * c..10 * c + 10).collect()).collect();
        let columns: Vec<u32> = (0..120).map(|r| r % 5).collect();
        let labels = (0..120).map(|r| if r < 110 { 1.0 } else { -1.0 }).collect();
        let rows = SparseRows { offsets: (0..=120).collect(), columns, values: vec![1.0; 120], labels };
        let task = Logistic {
            name: "unlike".into(),
            train: Arc::new(rows),
            test: None,
            features: 5,
            deal: Deal::Shards(Arc::new(shards)),
            l2: 0.01,
            nonconvex: 0.0,
            data: 1,
        };
        let ended =
            run(&task, &with("fedavg", &["participation=sampled(4, clients=12)", "optim.rate=2"]), &clock, &Nobody)
                .unwrap();
        let last = ended.points.last().unwrap();
        assert_eq!((last.reports, ended.summary.clients), (Some(4), Some(12)));
        let worst = last.client_loss_worst.unwrap();
        assert!(worst > 1.5 * last.train_loss, "one of twelve disagrees: {worst} {}", last.train_loss);
        assert!(last.client_loss_spread.unwrap() > 0.1);
        let alone = run(
            &task,
            &Plan { workers: 1, ..with("fedavg", &["participation=sampled(4, clients=12)", "optim.rate=2"]) },
            &clock,
            &Nobody,
        );
        assert_eq!(alone.unwrap().model, ended.model, "however many threads play them");
    }
}
