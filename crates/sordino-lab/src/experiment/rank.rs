//! What one rank does, and the desk at which rank 0 keeps the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sordino::base::{Kind, Layout, Ledger, Party};
use sordino::engine::{Gap, Session, Times, Told};
use sordino::exchange::{decree, report};
use sordino::fabric::{Clock, Medium, Port};
use sordino::workload::{Split, Start, Task, Workload};
use sordino::{Error, Result};

use super::{Ended, Observer, Plan, Progress, regroup};
use crate::checkpoint::{self, Draft, Manifest};
use crate::clients::Spill;
use crate::model_file::{self, Origin};
use crate::record::{FlowRow, Journal, Point, Summary, flows_of, ledger_of, read_points};
use crate::{files, record};

/// Rank 0's decision: this round is the last.
pub(super) const STOP: u8 = 1;
/// Rank 0's decision: save after this round.
pub(super) const SAVE: u8 = 2;
/// Seconds between checkpoints at the most.
pub(super) const CHECKPOINT_SECONDS: f64 = 10.0;
/// The most federated clients whose own rows are looked at, evenly over all of them.
const CLIENTS_LOOKED_AT: usize = 100;
/// Bits per second of the link that reports speak of.
const MEGABIT_100: f64 = 100e6;

/// The record of a run, kept by rank 0; other ranks of the process only read what a resumed run begins from.
pub struct Desk {
    pub(super) resumed: Option<Manifest>,
    /// The model that a new run starts from, if it is not a fresh one.
    pub(super) start: Option<Start>,
    pub(super) layout: Layout,
    /// Federated clients of a round, on average.
    pub(super) seats: Option<f64>,
    pub(super) task: String,
    pub(super) kept: Mutex<Kept>,
}

pub(super) struct Kept {
    pub(super) journal: Option<Journal>,
    pub(super) points: Vec<Point>,
    pub(super) model: Start,
    pub(super) ledger: Ledger,
    pub(super) told: Option<Told>,
    /// What the ranks knew when training broke off.
    pub(super) last_words: Vec<Account>,
    pub(super) wall: f64,
    /// Seconds spent looking at the model and writing files: not training.
    pub(super) aside: f64,
    pub(super) cpu: f64,
    pub(super) accuracy: Option<f64>,
    pub(super) clients: usize,
    pub(super) interrupted: bool,
}

impl Kept {
    /// Brings the last point up to where training broke off; what was not measured there is not known.
    fn broken_off(&mut self, last: &mut Point) -> Result<()> {
        let (rounds, steps) = self.told.map_or((0, 0), |t| (t.rounds, t.steps));
        if rounds > last.round || rounds == 0 {
            (last.train_loss, last.eval_loss, last.accuracy) = (f64::NAN, f64::NAN, None);
            last.duality_gap = None;
        }
        (last.round, last.step) = (rounds.max(last.round), steps.max(last.step));
        if !self.last_words.is_empty() {
            let mean = |of: &dyn Fn(&Account) -> f64| {
                self.last_words.iter().map(of).sum::<f64>() / self.last_words.len() as f64
            };
            last.compute_seconds = mean(&|a| a.compute);
            last.wait_seconds = mean(&|a| a.wait);
            last.exchange_seconds = mean(&|a| (a.close - a.wait).max(0.0));
            self.ledger = whole(&self.last_words)?;
        }
        Ok(())
    }
}

impl Desk {
    /// Opens the record: a new one, or the one that a checkpoint goes on from.
    pub fn open(task: &dyn Task, plan: &Plan) -> Result<Self> {
        Self::prepare(task, plan, true)
    }

    /// What a run begins from, for the ranks of other processes than the one that keeps the record.
    pub fn read(task: &dyn Task, plan: &Plan) -> Result<Self> {
        Self::prepare(task, plan, false)
    }

    fn prepare(task: &dyn Task, plan: &Plan, keeps: bool) -> Result<Self> {
        let participation = plan.recipe.participation()?;
        let clients = plan.recipe.clients(plan.workers, task.layers()?)?;
        let probe = task.workload(clients, plan.seed)?;
        let seats = participation.federated().then(|| participation.expected(plan.workers));
        let (layout, model) = (probe.layout().clone(), probe.start(plan.seed));
        let mut kept = Kept {
            journal: None,
            points: Vec::new(),
            model,
            ledger: Ledger::default(),
            told: None,
            last_words: Vec::new(),
            wall: 0.0,
            aside: 0.0,
            cpu: 0.0,
            accuracy: None,
            clients,
            interrupted: false,
        };
        let (mut resumed, mut start) = (None, None);
        if let Some(out) = &plan.out {
            if keeps {
                files::make_directory(out)?;
            }
            if plan.resume && checkpoint::exists(out) {
                let manifest = checkpoint::load_manifest(out)?;
                plan.goes_on_from(&manifest, out)?;
                if keeps {
                    kept.journal = Some(Journal::resume(out, manifest.record_offset)?);
                    kept.points = read_points(&out.join(record::RECORD))?;
                }
                kept.ledger = ledger_of(&manifest.flows)?;
                kept.wall = manifest.clocks.get("wall").copied().unwrap_or(0.0);
                kept.aside = manifest.clocks.get("aside").copied().unwrap_or(0.0);
                kept.cpu = manifest.clocks.get("cpu").copied().unwrap_or(0.0);
                resumed = Some(manifest);
            } else if keeps {
                plan.write(out)?;
                kept.journal = Some(Journal::create(out)?);
            }
        }
        if let (Some(path), None) = (&plan.header.start, &resumed) {
            let model = model_file::read(Path::new(path), &layout)?;
            kept.model = Start { parameters: model.parameters, buffers: model.buffers };
            start = Some(kept.model.clone());
        }
        Ok(Self { resumed, start, layout, seats, task: task.name().to_owned(), kept: Mutex::new(kept) })
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        // A rank that panicked leaves numbers behind, not broken invariants.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums the run up and writes what is written at the end.
    pub(super) fn close(self, plan: &Plan, diverged: bool) -> Result<Ended> {
        let mut kept = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut last = kept.points.last().cloned().unwrap_or_default();
        if diverged {
            kept.broken_off(&mut last)?;
        }
        let (sent, received) = kept.ledger.busiest(plan.places(), self.seats);
        let sync = |(workers, steps): (usize, u64)| {
            let n = self.seats.map_or(workers as u64, |seats| (seats.round() as u64).max(1));
            (steps * 8 * (n - 1) * self.layout.len() as u64).checked_div(n).unwrap_or(0)
        };
        let finite = last.train_loss.is_finite() || kept.points.is_empty();
        let summary = Summary {
            method: plan.recipe.method.clone(),
            label: plan.header.label.clone(),
            task: self.task.clone(),
            workers: plan.workers,
            workers_before: plan.header.before.clone(),
            seed: plan.seed,
            steps: last.step,
            rounds: last.round,
            epochs: last.epoch,
            parameters: self.layout.len(),
            train_loss: last.train_loss,
            eval_loss: last.eval_loss,
            accuracy: last.accuracy,
            clients: self.seats.and(Some(kept.clients)),
            client_loss_worst: last.client_loss_worst,
            client_loss_spread: last.client_loss_spread,
            simulated: !matches!(plan.recipe.medium()?, Medium::Threads(_)),
            epsilon: last.epsilon,
            duality_gap: last.duality_gap,
            diverged: diverged || !finite,
            bytes_sent_per_worker: sent,
            bytes_received_per_worker: received,
            bytes_sync_fp32_per_worker: plan.stretches(last.step).map(sync).sum(),
            compute_seconds: last.compute_seconds,
            exchange_seconds: last.exchange_seconds,
            wait_seconds: last.wait_seconds,
            wall_seconds: kept.wall,
            cpu_seconds: (kept.cpu > 0.0).then_some(kept.cpu),
            cores: plan.cores,
            link_seconds_100mbit: 8.0 * sent.max(received) as f64 / MEGABIT_100,
            started_from: plan.header.start.clone(),
            flows: flows_of(&kept.ledger),
            environment: plan.environment.clone(),
        };
        if let Some(out) = &plan.out {
            let origin = Origin {
                method: plan.recipe.method.clone(),
                task: self.task,
                seed: plan.seed,
                version: plan.header.version.clone(),
            };
            let path = out.join("model.safetensors");
            model_file::write(&path, &self.layout, &kept.model.parameters, &kept.model.buffers, &origin)?;
            if let Some(mut journal) = kept.journal {
                journal.finish()?;
            }
            summary.write(out)?;
        }
        Ok(Ended {
            summary,
            points: kept.points,
            layout: self.layout,
            model: kept.model,
            interrupted: kept.interrupted,
        })
    }
}

/// Drives one rank over `port` until all steps are done or rank 0 says stop.
pub fn work(
    task: &dyn Task,
    plan: &Plan,
    port: Box<dyn Port>,
    clock: &Arc<dyn Clock>,
    observer: &dyn Observer,
    desk: &Desk,
) -> Result<()> {
    let rank = port.rank();
    let parts = plan.recipe.build(Arc::clone(clock))?;
    let workload = task.workload(plan.recipe.clients(plan.workers, task.layers()?)?, plan.seed)?;
    let workload = plan.recipe.wrap(workload)?;
    let (mut session, mut workload) = Session::join(parts, workload, port, plan.seed, Some(plan.steps))?;
    if let Some(start) = &desk.start {
        session.begin_from(start)?;
    }
    let worker = session.worker();
    worker.hide_with(entropy()?);
    if let (true, Some(out)) = (worker.federated(), &plan.out) {
        worker.keep_clients_in(Box::new(Spill::new(&out.join("clients"), rank)?));
    }
    let began = clock.now() - desk.kept().wall;
    let mut bench = Bench { rank, session, plan, clock, desk, began, saved: clock.now(), rows: task.rows(), gap: None };
    if bench.begin(&mut *workload)? {
        return bench.save(&*workload);
    }
    let worked = bench.rounds(&mut *workload, observer);
    if worked.as_ref().is_err_and(|e| e.kind() != Kind::Request) {
        bench.leave();
    }
    worked
}

/// Entropy of the system, for noise that hides somebody.
pub(super) fn entropy() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| Error::new(Kind::System, format!("the system gives no entropy: {e}")))?;
    Ok(key)
}

/// One rank's share of a point: where its time went, and what it sent.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    compute: f64,
    cpu: f64,
    close: f64,
    wait: f64,
    clip: f64,
    residual: Option<f64>,
    /// Its part of the duality gap when it last looked: what its rows lack, and what it owes.
    gap: Option<[f64; 2]>,
    flows: Vec<FlowRow>,
}

/// The ranks' ledgers, merged.
fn whole(accounts: &[Account]) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    for account in accounts {
        ledger.merge(&ledger_of(&account.flows)?);
    }
    Ok(ledger)
}

/// One rank at work.
pub(super) struct Bench<'a> {
    pub(super) rank: usize,
    pub(super) session: Session,
    pub(super) plan: &'a Plan,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) desk: &'a Desk,
    began: f64,
    saved: f64,
    rows: usize,
    /// This rank's part of the duality gap when it last looked.
    gap: Option<Gap>,
}

impl Bench<'_> {
    /// Goes on from the checkpoint, or looks at the model before training. True where the target is reached already.
    fn begin(&mut self, workload: &mut dyn Workload) -> Result<bool> {
        let (Some(out), Some(manifest)) = (&self.plan.out, &self.desk.resumed) else {
            return self.look(workload, None);
        };
        let (whole, rank, ranks) = (ledger_of(&manifest.flows)?, self.rank, self.plan.workers);
        if manifest.ranks == ranks {
            self.session.load(&checkpoint::load_rank(out, rank)?, workload)?;
        } else {
            self.session.load_from(&checkpoint::load(out)?.ranks, workload)?;
        }
        // What clients, the server and ranks that are no more have said is nobody's own: rank 0 goes on counting from it.
        let there = |party| matches!(party, Party::Worker(other) if other < ranks);
        let mine = |party| party == Party::Worker(rank) || (!there(party) && rank == 0);
        let waited = self.session.worker().times().waited;
        self.session.metered(|meter| {
            for (link, flow) in whole.flows().filter(|(link, _)| mine(link.from)) {
                meter.ledger.restore(link.clone(), *flow);
            }
            meter.wait = regroup::waited(manifest, rank, ranks).map_or(0.0, |wait| wait - waited);
        });
        // A virtual clock stands where it was only now.
        self.began = self.clock.now() - self.desk.kept().wall;
        // A run that was at its end already has no round left that would look at the model.
        let model = self.session.evaluated(workload)?;
        self.regrouped(out, manifest)?;
        let mut verdict = [0];
        if self.rank == 0 {
            let mut kept = self.desk.kept();
            kept.model = model;
            // The record ends where the checkpoint was made.
            let reached = kept.points.last().is_some_and(|p| p.round == manifest.round && self.reaches(p));
            verdict[0] = u8::from(reached);
        }
        Ok(decree(self.session.everyone()?, &verdict)? == [1])
    }

    /// Whether a point is at the target.
    fn reaches(&self, point: &Point) -> bool {
        self.plan.until_loss.is_some_and(|target| point.train_loss <= target)
    }

    /// Leaves what is known on the desk when training broke off: each rank its account, rank 0 the model too.
    fn leave(&mut self) {
        let account = self.account(None);
        let mut kept = self.desk.kept();
        kept.last_words.push(account);
        if self.rank == 0 {
            kept.wall = self.clock.now() - self.began;
            // Of a network in blocks the last look is all that is left.
            if self.session.seat().is_none() {
                kept.model.parameters = self.session.worker().model().to_vec();
            }
        }
    }

    fn rounds(&mut self, workload: &mut dyn Workload, observer: &dyn Observer) -> Result<()> {
        if self.session.seat().is_some() {
            return self.piped(workload, observer);
        }
        while !self.session.done() {
            self.session.open()?;
            self.session.spend(workload)?;
            let flags = if self.rank == 0 { self.flags(observer) } else { 0 };
            let told = self.session.meet(workload, flags)?;
            let stop = told.flags & STOP != 0;
            if self.rank == 0 {
                self.tell(&told, observer);
            }
            let mut reached = false;
            if told.rounds % self.plan.eval_every.max(1) == 0 || self.session.done() || stop {
                reached = self.look(workload, Some((&told, observer)))?;
            }
            if told.flags & SAVE != 0 || stop || reached || told.rounds == 1 {
                self.save(workload)?;
            }
            if stop || reached {
                self.desk.kept().interrupted |= stop && !self.session.done();
                break;
            }
        }
        if self.session.done() && self.plan.out.is_some() {
            self.save(workload)?;
        }
        Ok(())
    }

    /// Rank 0's decisions for this round.
    pub(super) fn flags(&mut self, observer: &dyn Observer) -> u8 {
        let rounds = self.session.worker().position().0 + 1;
        let due = self.plan.checkpoint_every.is_some_and(|every| rounds.is_multiple_of(every.max(1)));
        let due = due || self.clock.now() - self.saved > CHECKPOINT_SECONDS;
        let save = if due && self.plan.out.is_some() { SAVE } else { 0 };
        save | if observer.stop() { STOP } else { 0 }
    }

    pub(super) fn tell(&self, told: &Told, observer: &dyn Observer) {
        let (accuracy, loss) = {
            let mut kept = self.desk.kept();
            // A rank that played nobody in this round has no loss of its own to tell.
            let loss = kept.told.map_or(told.loss, |before| if told.spoke == 0 { before.loss } else { told.loss });
            kept.told = Some(Told { loss, ..*told });
            (kept.accuracy, loss)
        };
        observer.round(&Progress {
            steps: told.steps,
            total: self.plan.steps,
            rounds: told.rounds,
            loss,
            accuracy,
            epsilon: told.epsilon,
        });
    }

    /// Looks at the agreed model: a collective call. True once the target is reached.
    pub(super) fn look(&mut self, workload: &mut dyn Workload, after: Option<(&Told, &dyn Observer)>) -> Result<bool> {
        let began = self.clock.now();
        let model = self.session.evaluated(workload)?;
        self.gap = self.session.certificate(workload, &model.parameters)?;
        let all = self.accounts(after.map(|(told, _)| told))?;
        let mut verdict = vec![0];
        if self.rank == 0 {
            let point = self.point(workload, &model, &all, after.map(|(told, _)| told), began)?;
            verdict[0] = u8::from(self.reaches(&point));
            if let Some((_, observer)) = after {
                observer.point(&point);
            }
            let mut kept = self.desk.kept();
            kept.model = model;
            kept.accuracy = point.accuracy;
            if let Some(journal) = &mut kept.journal {
                journal.append(&point)?;
            }
            kept.points.push(point);
        }
        let verdict = decree(self.session.everyone()?, &verdict)?;
        if self.rank == 0 {
            let mut kept = self.desk.kept();
            kept.aside += self.clock.now() - began;
            kept.wall = self.clock.now() - self.began;
        }
        Ok(verdict == [1])
    }

    /// This rank's account.
    fn account(&mut self, told: Option<&Told>) -> Account {
        let Times { compute, cpu, close, waited } = self.session.worker().times();
        let metered = self.session.metered(|meter| (waited + meter.wait, flows_of(&meter.ledger)));
        let (wait, flows) = metered.unwrap_or((waited, Vec::new()));
        let clip = told.map_or(0.0, |t| {
            if self.plan.recipe.clips_rows() {
                t.clipped_rows as f64 / (t.silence * t.spoke * self.plan.batch_rows as u64).max(1) as f64
            } else if self.plan.recipe.clips_steps() {
                t.clipped as f64 / (t.silence * t.spoke).max(1) as f64
            } else {
                t.shortened as f64 / t.spoke.max(1) as f64
            }
        });
        let gap = self.gap.map(|gap| [gap.slack, gap.owed]).filter(|gap| gap.iter().all(|v| v.is_finite()));
        Account { compute, cpu, close, wait, clip, residual: told.and_then(|t| t.residual_norm), gap, flows }
    }

    /// Everybody's account at rank 0, in rank order: a collective call.
    fn accounts(&mut self, told: Option<&Told>) -> Result<Vec<Account>> {
        let account = self.account(told);
        let words = serde_json::to_vec(&account)
            .map_err(|e| Error::data(format!("rank {}'s account cannot be written: {e}", self.rank)))?;
        let all = report(self.session.everyone()?, &words)?;
        let read = |words: &Vec<u8>| {
            serde_json::from_slice(words).map_err(|e| Error::decode(format!("an account cannot be read: {e}")))
        };
        all.iter().map(read).collect()
    }

    fn point(
        &mut self,
        workload: &mut dyn Workload,
        model: &Start,
        accounts: &[Account],
        told: Option<&Told>,
        began: f64,
    ) -> Result<Point> {
        let mean = |of: &dyn Fn(&Account) -> f64| accounts.iter().map(of).sum::<f64>() / accounts.len().max(1) as f64;
        let (compute, close, wait) = (mean(&|a| a.compute), mean(&|a| a.close), mean(&|a| a.wait));
        let remembers = accounts.iter().any(|a| a.residual.is_some());
        let ledger = whole(accounts)?;
        let train = workload.evaluate(&model.parameters, &model.buffers, Split::Train)?;
        let test = workload.evaluate(&model.parameters, &model.buffers, Split::Test)?;
        let (sent, received) = ledger.busiest(self.plan.places(), self.desk.seats);
        let (worst, spread) = if self.desk.seats.is_some() { self.clients(workload, model)? } else { (None, None) };
        // Where workers hold blocks, copies of the network see rows.
        let speakers = self.desk.seats.unwrap_or_else(|| self.session.worker().clients() as f64);
        let epsilon = self.session.worker().epsilon();
        // Known where every rank knows its part.
        let gaps: Option<Vec<Gap>> = accounts.iter().map(|a| a.gap.map(|[slack, owed]| Gap { slack, owed })).collect();
        let step = told.map_or(0, |t| t.steps);
        let recipe = &self.plan.recipe;
        let clips = recipe.clips_steps() || recipe.clips_offers() || recipe.clips_rows();
        let mut kept = self.desk.kept();
        kept.ledger = ledger;
        kept.cpu = accounts.iter().map(|a| a.cpu).sum();
        Ok(Point {
            round: told.map_or(0, |t| t.rounds),
            step,
            epoch: self.plan.shared(step)? * self.plan.batch_rows as f64 * speakers / self.rows.max(1) as f64,
            train_loss: train.map_or(f64::NAN, |m| m.loss),
            eval_loss: test.map_or(f64::NAN, |m| m.loss),
            accuracy: test.or(train).and_then(|m| m.accuracy),
            bytes_sent: sent,
            bytes_received: received,
            seconds: began - self.began - kept.aside,
            compute_seconds: compute,
            wait_seconds: wait,
            exchange_seconds: (close - wait).max(0.0),
            rate: told.map_or(f64::NAN, |t| t.rate),
            silence: told.map_or(0, |t| t.silence),
            clip_fraction: clips.then_some(mean(&|a| a.clip)),
            client_loss_worst: worst,
            client_loss_spread: spread,
            reports: self.desk.seats.and(told.map(|t| t.voices)),
            epsilon,
            duality_gap: gaps.map(Gap::whole),
            residual_norm: remembers.then_some(mean(&|a| a.residual.unwrap_or(0.0))),
            ..Point::default()
        })
    }

    /// Mean loss of the worst tenth of the clients, and the deviation of all, on their own rows.
    fn clients(&mut self, workload: &mut dyn Workload, model: &Start) -> Result<(Option<f64>, Option<f64>)> {
        let clients = self.session.worker().clients();
        let looked = clients.min(CLIENTS_LOOKED_AT);
        let mut losses = Vec::with_capacity(looked);
        for i in 0..looked {
            let client = (i * clients / looked) as u64;
            losses.extend(workload.evaluate_client(&model.parameters, &model.buffers, client)?.map(|m| m.loss));
        }
        if losses.is_empty() {
            return Ok((None, None));
        }
        losses.sort_by(|a, b| b.total_cmp(a));
        let tenth = losses.len().div_ceil(10);
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let variance = losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / losses.len() as f64;
        Ok((Some(losses[..tenth].iter().sum::<f64>() / tenth as f64), Some(variance.sqrt())))
    }

    /// Saves every rank's state: a collective call.
    pub(super) fn save(&mut self, workload: &dyn Workload) -> Result<()> {
        let Some(out) = &self.plan.out else { return Ok(()) };
        let began = self.clock.now();
        let (round, step) = self.session.worker().position();
        // The ledger is taken before the words of the checkpoint itself.
        let all = self.accounts(None)?;
        let folder = if self.rank == 0 {
            Draft::begin(out, round)?.folder().to_string_lossy().into_owned().into_bytes()
        } else {
            Vec::new()
        };
        let folder = decree(self.session.everyone()?, &folder)?;
        let draft = Draft::join(Path::new(String::from_utf8_lossy(&folder).as_ref()));
        draft.write_rank(self.rank, &self.session.save(workload)?)?;
        // Everybody has written before rank 0 commits.
        report(self.session.everyone()?, &[])?;
        if self.rank == 0 {
            let ledger = whole(&all)?;
            let mut kept = self.desk.kept();
            kept.aside += self.clock.now() - began;
            let mut clocks = BTreeMap::new();
            clocks.insert("wall".to_owned(), self.clock.now() - self.began);
            clocks.insert("aside".into(), kept.aside);
            clocks.insert("cpu".into(), kept.cpu);
            for (rank, account) in all.iter().enumerate() {
                clocks.insert(format!("wait-{rank}"), account.wait);
            }
            let offset = kept.journal.as_mut().map_or(Ok(0), Journal::settle)?;
            draft.commit(&Manifest {
                round,
                step,
                ranks: self.plan.workers,
                record_offset: offset,
                flows: flows_of(&ledger),
                recipe: self.plan.to_toml(),
                clocks,
            })?;
            self.saved = self.clock.now();
        }
        decree(self.session.everyone()?, &[])?;
        Ok(())
    }
}
