//! What the ranks do where workers come to a server at their own pace: the server, the last rank, keeps the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sordino::engine::{Heard, Serving, Session, Told, Update, Word, Worker};
use sordino::fabric::{Clock, Port};
use sordino::workload::{Split, Task, Workload};
use sordino::{Error, Result};

use super::rank::{CHECKPOINT_SECONDS, Desk};
use super::{Observer, Plan, Progress};
use crate::checkpoint::{self, Draft, Manifest};
use crate::record::{Journal, Point, flows_of, ledger_of};

/// Drives one worker until the server says stop.
pub fn come(task: &dyn Task, plan: &Plan, port: Box<dyn Port>, clock: &Arc<dyn Clock>, desk: &Desk) -> Result<()> {
    let rank = port.rank();
    let parts = plan.recipe.build(Arc::clone(clock))?;
    let workload = task.workload(parts.participation.clients(plan.workers), plan.seed)?;
    let mut workload = plan.recipe.wrap(workload)?;
    let mut worker = Worker::new(parts, &*workload, plan.seed, rank, plan.workers, Some(plan.steps));
    if let Some(start) = &desk.start {
        worker.begin_from(start)?;
    }
    let mut session = Session::new(worker, port);
    if let (Some(out), Some(manifest)) = (&plan.out, &desk.resumed) {
        session.load(&checkpoint::load_rank(out, rank)?, &mut *workload)?;
        if let Some(meter) = session.port().meter() {
            meter.wait = manifest.clocks.get(&format!("wait-{rank}")).copied().unwrap_or(0.0);
        }
    }
    loop {
        match session.listen()? {
            Word::Work => drop(session.errand(&mut *workload)?),
            Word::Flush => session.flush()?,
            Word::Certify(model) => session.certify(&mut *workload, &model)?,
            Word::Save(folder) => {
                let folder = String::from_utf8_lossy(&folder);
                Draft::join(Path::new(folder.as_ref())).write_rank(rank, &session.save(&*workload)?)?;
                session.confirm()?;
            }
            Word::Stop => return Ok(()),
        }
    }
}

/// Drives the server until all steps are done, or somebody says stop.
pub fn serve(
    task: &dyn Task,
    plan: &Plan,
    port: Box<dyn Port>,
    clock: &Arc<dyn Clock>,
    observer: &dyn Observer,
    desk: &Desk,
) -> Result<()> {
    let parts = plan.recipe.build(Arc::clone(clock))?;
    let workload = task.workload(parts.participation.clients(plan.workers), plan.seed)?;
    let workload = plan.recipe.wrap(workload)?;
    let mut serving = Serving::new(parts, &*workload, plan.seed, plan.steps, port)?;
    if let Some(start) = &desk.start {
        serving.begin_from(start)?;
    }
    if let Some(order) = &plan.replay {
        serving.replay(order.iter().copied());
    }
    let began = clock.now() - desk.kept().wall;
    let (words, due) = (Vec::new(), false);
    let mut counter =
        Counter { serving, workload, plan, clock, desk, began, saved: clock.now(), words, due, rows: task.rows() };
    if counter.begin()? {
        return counter.serving.stop();
    }
    let served = counter.updates(observer);
    if served.is_err() {
        counter.leave();
    }
    served
}

/// The server at work.
struct Counter<'a> {
    serving: Serving,
    workload: Box<dyn Workload>,
    plan: &'a Plan,
    clock: &'a Arc<dyn Clock>,
    desk: &'a Desk,
    began: f64,
    saved: f64,
    /// What was heard since the last point.
    words: Vec<Heard>,
    /// Whether the model is to be looked at as soon as it can be.
    due: bool,
    rows: usize,
}

impl Counter<'_> {
    /// Goes on from the checkpoint, or looks at the model before training. True where the target is reached already.
    fn begin(&mut self) -> Result<bool> {
        let reached = if let (Some(out), Some(manifest)) = (&self.plan.out, &self.desk.resumed) {
            self.serving.load(&checkpoint::load_rank(out, self.plan.workers)?)?;
            self.serving.moved_before(ledger_of(&manifest.flows)?);
            self.began = self.clock.now() - self.desk.kept().wall;
            let mut kept = self.desk.kept();
            kept.model = self.serving.server().evaluated();
            kept.points.last().is_some_and(|p| p.round == manifest.round && self.reaches(p))
        } else {
            self.look(None, None)?
        };
        self.serving.begin(!reached)?;
        Ok(reached)
    }

    fn reaches(&self, point: &Point) -> bool {
        self.plan.until_loss.is_some_and(|target| point.train_loss <= target)
    }

    /// Leaves what is known on the desk when training broke off.
    fn leave(&mut self) {
        let ledger = self.serving.ledger();
        let mut kept = self.desk.kept();
        kept.wall = self.clock.now() - self.began;
        kept.model.parameters = self.serving.server().model().to_vec();
        kept.ledger = ledger;
    }

    fn updates(&mut self, observer: &dyn Observer) -> Result<()> {
        while let Some(update) = self.serving.serve()? {
            self.words.extend(&update.words);
            let told = self.told(&update);
            self.tell(&told, observer);
            let (done, stop) = (self.serving.server().finished(), observer.stop());
            self.due |= update.version % self.plan.eval_every.max(1) == 0;
            // Where workers owe what their words left out, the model is whole once all have said it.
            let whole = update.gathered || !self.serving.server().flushes();
            let mut reached = false;
            if (self.due && whole) || done || stop {
                let gap = if update.everybody && self.plan.recipe.certifies() { self.serving.gap()? } else { None };
                reached = self.look(Some((&told, observer)), gap)?;
            }
            if done || stop || reached || update.version == 1 || self.is_time_to_save(update.version) {
                self.save()?;
            }
            if stop || reached {
                self.desk.kept().interrupted |= stop && !done;
                break;
            }
            if !done {
                self.serving.answer()?;
            }
        }
        self.serving.stop()
    }

    fn is_time_to_save(&self, version: u64) -> bool {
        self.plan.checkpoint_every.is_some_and(|every| version.is_multiple_of(every.max(1)))
            || self.clock.now() - self.saved > CHECKPOINT_SECONDS
    }

    /// An update as a round of everybody would tell it.
    fn told(&self, update: &Update) -> Told {
        let notes = self.serving.notes();
        let voices = update.words.len().max(1);
        Told {
            rounds: update.version,
            steps: update.steps,
            silence: update.words.iter().map(|word| word.steps).sum::<u64>() / voices as u64,
            rate: update.rate,
            loss: update.words.iter().map(|word| notes[word.worker].loss).sum::<f64>() / voices as f64,
            clipped: 0,
            clipped_rows: 0,
            shortened: 0,
            spoke: voices as u64,
            voices: voices as u64,
            residual_norm: None,
            epsilon: None,
            flags: 0,
        }
    }

    fn tell(&self, told: &Told, observer: &dyn Observer) {
        let accuracy = {
            let mut kept = self.desk.kept();
            kept.told = Some(*told);
            kept.accuracy
        };
        let (steps, rounds, loss) = (told.steps, told.rounds, told.loss);
        observer.round(&Progress { steps, total: self.plan.steps, rounds, loss, accuracy, epsilon: None });
    }

    /// Looks at the model. True once the target is reached.
    fn look(&mut self, after: Option<(&Told, &dyn Observer)>, duality_gap: Option<f64>) -> Result<bool> {
        let (told, observer) = after.unzip();
        let began = self.clock.now();
        let model = self.serving.server().evaluated();
        let train = self.workload.evaluate(&model.parameters, &model.buffers, Split::Train)?;
        let test = self.workload.evaluate(&model.parameters, &model.buffers, Split::Test)?;
        let ledger = self.serving.ledger();
        let (sent, received) = ledger.busiest(self.plan.workers, None);
        let notes = self.serving.notes().to_vec();
        let workers = self.plan.workers as f64;
        let mean = |of: &dyn Fn(&sordino::engine::Note) -> f64| notes.iter().map(of).sum::<f64>() / workers;
        let words = std::mem::take(&mut self.words);
        self.due = false;
        let order = self.serving.take_order();
        let step = told.map_or(0, |t| t.steps);
        let recipe = &self.plan.recipe;
        let clip = told.map(|t| {
            let work = t.silence.max(1) as f64;
            if recipe.clips_rows() {
                mean(&|n| n.clipped_rows) / (work * self.plan.batch_rows.max(1) as f64)
            } else if recipe.clips_steps() {
                mean(&|n| n.clipped) / work
            } else {
                mean(&|n| n.shortened)
            }
        });
        let clips = recipe.clips_steps() || recipe.clips_offers() || recipe.clips_rows();
        let residual = mean(&|n| n.residual);
        let (compute, wait) = (mean(&|n| n.compute), mean(&|n| n.wait));
        let mut kept = self.desk.kept();
        let point = Point {
            round: told.map_or(0, |t| t.rounds),
            step,
            epoch: (step as usize * self.plan.batch_rows) as f64 * workers / self.rows.max(1) as f64,
            train_loss: train.map_or(f64::NAN, |m| m.loss),
            eval_loss: test.map_or(f64::NAN, |m| m.loss),
            accuracy: test.or(train).and_then(|m| m.accuracy),
            bytes_sent: sent,
            bytes_received: received,
            seconds: began - self.began - kept.aside,
            compute_seconds: compute,
            wait_seconds: wait,
            exchange_seconds: (mean(&|n| n.close) - wait).max(0.0),
            rate: told.map_or(f64::NAN, |t| t.rate),
            silence: told.map_or(0, |t| t.silence),
            clip_fraction: clip.filter(|_| clips),
            residual_norm: Some(residual).filter(|norm| norm.is_finite() && told.is_some()),
            delay_mean: (!words.is_empty())
                .then(|| words.iter().map(|w| w.delay as f64).sum::<f64>() / words.len() as f64),
            duality_gap,
            delay_most: words.iter().map(|w| w.delay).max(),
            arrivals: (!order.is_empty()).then(|| order.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            ..Point::default()
        };
        if let Some(observer) = observer {
            observer.point(&point);
        }
        kept.ledger = ledger;
        kept.cpu = notes.iter().map(|n| n.cpu).sum();
        kept.model = model;
        kept.accuracy = point.accuracy;
        if let Some(journal) = &mut kept.journal {
            journal.append(&point)?;
        }
        let reached = self.plan.until_loss.is_some_and(|target| point.train_loss <= target);
        kept.points.push(point);
        kept.aside += self.clock.now() - began;
        kept.wall = self.clock.now() - self.began;
        Ok(reached)
    }

    /// Saves every rank's state.
    fn save(&mut self) -> Result<()> {
        let Some(out) = &self.plan.out else { return Ok(()) };
        let began = self.clock.now();
        let (round, step) = self.serving.server().position();
        let draft = Draft::begin(out, round)?;
        let folder = draft.folder().to_string_lossy().into_owned();
        let state = self.serving.save(folder.as_bytes())?;
        draft.write_rank(self.plan.workers, &state)?;
        let flows = flows_of(&self.serving.ledger());
        let mut kept = self.desk.kept();
        kept.aside += self.clock.now() - began;
        let mut clocks = BTreeMap::from([
            ("wall".to_owned(), self.clock.now() - self.began),
            ("aside".to_owned(), kept.aside),
            ("cpu".to_owned(), kept.cpu),
        ]);
        for (rank, note) in self.serving.notes().iter().enumerate() {
            clocks.insert(format!("wait-{rank}"), note.wait);
        }
        let record_offset = kept.journal.as_mut().map_or(Ok(0), Journal::settle)?;
        let (ranks, recipe) = (self.plan.ranks()?, self.plan.to_toml());
        draft.commit(&Manifest { round, step, ranks, record_offset, flows, recipe, clocks })?;
        self.saved = self.clock.now();
        Ok(())
    }
}

/// The order in which workers came in a run that is recorded.
pub fn arrivals(points: &[Point]) -> Result<Vec<usize>> {
    let words = points.iter().filter_map(|point| point.arrivals.as_deref()).flat_map(str::split_whitespace);
    words
        .map(|word| word.parse().map_err(|_| Error::data(format!("`{word}` in a record's arrivals is no worker"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use sordino::fabric::Still;
    use sordino::recipe::{Defaults, Recipe, check};
    use sordino::workload::Quadratic;

    use super::super::{Ended, Header, Nobody, run};
    use super::*;
    use crate::files::Scratch;
    use crate::record::{RECORD, read_points};

    fn plan(row: &str, sets: &[&str], out: Option<&Path>) -> Plan {
        let mut recipe = Recipe::named(row).unwrap();
        sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
        recipe.resolve(&Defaults { clients: 9, ..Defaults::default() }).unwrap();
        check(&recipe).unwrap();
        Plan {
            recipe,
            workers: 3,
            seed: 2,
            steps: 60,
            batch_rows: 1,
            until_loss: None,
            eval_every: 10,
            checkpoint_every: Some(7),
            out: out.map(Path::to_path_buf),
            resume: false,
            replay: None,
            header: Header::default(),
            environment: BTreeMap::new(),
            cores: 0,
        }
    }

    fn ended(plan: &Plan, observer: &dyn Observer) -> Ended {
        let clock: Arc<dyn Clock> = Arc::new(Still);
        run(&Quadratic { noise: 0.3, ..Quadratic::default() }, plan, &clock, observer).unwrap()
    }

    /// Says stop after so many updates.
    struct Impatient(u64, std::sync::atomic::AtomicU64);

    impl Observer for Impatient {
        fn round(&self, progress: &Progress) {
            self.1.store(progress.rounds, std::sync::atomic::Ordering::Relaxed);
        }

        fn stop(&self) -> bool {
            self.1.load(std::sync::atomic::Ordering::Relaxed) >= self.0
        }
    }

    #[test]
    fn a_run_that_is_stopped_and_resumed_is_the_run_that_is_not() {
        let world = "fabric=sim(spread=0.8, slow=1, factor=9)";
        for (row, sets) in [
            ("async-sgd", &[world, "optim.rate=0.05"][..]),
            ("fedbuff", &[world]),
            ("picky-sgd", &[world, "optim.rate=0.05"]),
        ] {
            let (whole, broken) = (Scratch::new(&format!("{row}-whole")), Scratch::new(&format!("{row}-broken")));
            let without = ended(&plan(row, sets, Some(&whole.0)), &Nobody);
            let first = plan(row, sets, Some(&broken.0));
            let half = ended(&first, &Impatient(without.summary.rounds / 2, 0.into()));
            assert!(half.interrupted && half.summary.rounds < without.summary.rounds, "{row}");
            let rest = ended(&Plan { resume: true, ..first }, &Nobody);
            assert_eq!(rest.model, without.model, "{row}");
            assert_eq!(rest.summary.bytes(), without.summary.bytes(), "{row}");
            let reached = |ended: &Ended| (ended.summary.rounds, ended.summary.steps);
            assert!(reached(&rest) == reached(&without) && rest.summary.steps >= 60, "{row}");
            let order = |points: &[Point]| arrivals(points).unwrap();
            assert_eq!(order(&rest.points), order(&without.points), "{row}: the record holds every arrival once");
        }
    }

    #[test]
    fn a_run_on_threads_is_made_again_from_its_record() {
        let folder = Scratch::new("replayed");
        let first = ended(&plan("async-sgd", &["optim.rate=0.05"], Some(&folder.0)), &Nobody);
        let order = arrivals(&read_points(&folder.0.join(RECORD)).unwrap()).unwrap();
        assert_eq!(order.len(), 180);
        let again = Plan { replay: Some(order), ..plan("async-sgd", &["optim.rate=0.05"], None) };
        assert_eq!(ended(&again, &Nobody).model, first.model);
        let last = first.points.last().unwrap();
        assert!(last.delay_mean.unwrap() < 3.0 && last.delay_most.unwrap() >= 2, "{last:?}");
    }
}
