//! What a session records: points as the laboratory writes them, with everybody's bytes and seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sordino::base::{Ledger, State};
use sordino::exchange::report;
use sordino::{Error, Result};
use sordino_lab::checkpoint;
use sordino_lab::files::{make_directory, write_aside};
use sordino_lab::record::{Journal, Point, RECIPE, Summary, flows_of as rows_of};
use sordino_lab::report::{self as page, RunView};

use crate::engine::{Engine, flows_of, flows_to};

/// Bits per second of the link that reports speak of.
const MEGABIT_100: f64 = 100e6;

/// The points of a run and what happened to it.
pub struct Record {
    points: Vec<Point>,
    /// Where the run went on from something saved.
    pub resumed: Vec<String>,
    /// The moment that seconds are counted from.
    began: f64,
}

/// A record as it is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    points: Vec<Point>,
    resumed: Vec<String>,
    seconds: f64,
}

/// What a caller knows of its model.
#[derive(Clone, Copy)]
pub struct Look {
    pub train_loss: f64,
    pub eval_loss: f64,
    pub accuracy: Option<f64>,
    pub epoch: f64,
}

impl Record {
    /// An empty one, from this moment on.
    pub fn begun(now: f64) -> Self {
        Self { points: Vec::new(), resumed: Vec::new(), began: now }
    }

    /// Seconds since the run began, of all the sessions that it has had.
    pub fn seconds(&self, now: f64) -> f64 {
        now - self.began
    }

    /// Puts everything into `state`, as JSON in whole words.
    pub fn save(&self, now: f64, state: &mut State) -> Result<()> {
        let saved = Saved { points: self.points.clone(), resumed: self.resumed.clone(), seconds: self.seconds(now) };
        let mut text =
            serde_json::to_vec(&saved).map_err(|e| Error::data(format!("a record cannot be written: {e}")))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let words: Vec<u64> = text.as_chunks().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect();
        state.put_numbers("record", &words);
        Ok(())
    }

    /// Takes it back.
    pub fn load(&mut self, now: f64, state: &State) -> Result<()> {
        let words = state.numbers.get("record").map_or(&[][..], |words| &words[..]);
        let text: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let saved: Saved = serde_json::from_slice(&text)
            .map_err(|e| Error::data(format!("expected the record of a session, but {e}")))?;
        *self = Self { points: saved.points, resumed: saved.resumed, began: now - saved.seconds };
        Ok(())
    }
}

/// One rank's seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    /// In steps, ours or the caller's.
    pub compute: f64,
    /// Of the processor, in steps of ours.
    pub cpu: f64,
    /// In exchanges, without waiting.
    pub exchange: f64,
    /// Waiting for a word.
    pub wait: f64,
    /// Since the run began.
    pub wall: f64,
}

/// Everybody's bytes and seconds, as rank 0 knows them.
struct Account {
    ledger: Ledger,
    /// Means over ranks.
    seconds: Seconds,
    cpu: f64,
    residual: Option<f64>,
}

impl Engine {
    /// This rank's seconds.
    pub fn seconds(&mut self) -> Seconds {
        let times = self.session.worker().times();
        let wait = self.session.metered(|meter| meter.wait).unwrap_or(0.0) + times.waited;
        Seconds {
            compute: times.compute + self.stepped,
            cpu: times.cpu,
            exchange: (times.close - wait).max(0.0),
            wait,
            wall: self.record.seconds(self.clock.now()),
        }
    }

    /// Everybody's account at rank 0: a collective call. Nothing at the others.
    fn account(&mut self) -> Result<Option<Account>> {
        let Seconds { compute, cpu, exchange, wait, wall } = self.seconds();
        let ledger = self.session.metered(|meter| meter.ledger.clone()).unwrap_or_default();
        let residual = self.last.and_then(|told| told.residual_norm).unwrap_or(f64::NAN);
        let mut mine = flows_to(&ledger);
        mine.put_numbers("seconds", &[compute, cpu, exchange, wait, wall, residual].map(f64::to_bits));
        let all = report(self.session.everyone()?, &checkpoint::encode(&mine)?)?;
        if self.rank > 0 {
            return Ok(None);
        }
        let (mut whole, mut sums, ranks) = (Ledger::default(), [0.0; 6], all.len() as f64);
        for words in &all {
            let mut theirs = checkpoint::decode("an account", words)?;
            let seconds: [u64; 6] = theirs.take_numbers("seconds")?;
            sums.iter_mut().zip(seconds).for_each(|(sum, bits)| *sum += f64::from_bits(bits));
            theirs.numbers.remove("seconds");
            whole.merge(&flows_of(&theirs)?);
        }
        let [compute, cpu, exchange, wait, wall, residual] = sums.map(|sum| sum / ranks);
        Ok(Some(Account {
            ledger: whole,
            seconds: Seconds { compute, cpu, exchange, wait, wall },
            cpu: sums[1],
            residual: Some(residual).filter(|norm| norm.is_finite()),
        }))
    }

    /// Puts a point on the record of rank 0: a collective call.
    pub fn record_point(&mut self, look: Look) -> Result<()> {
        self.quiet()?;
        let Some(account) = self.account()? else { return Ok(()) };
        let (sent, received) = account.ledger.busiest(self.ranks, self.seats());
        let worker = self.session.worker();
        let ((round, step), epsilon) = (worker.position(), worker.epsilon());
        let (told, clips) = (self.last, self.recipe.clips_offers());
        self.record.points.push(Point {
            round,
            step,
            epoch: look.epoch,
            train_loss: look.train_loss,
            eval_loss: look.eval_loss,
            accuracy: look.accuracy,
            bytes_sent: sent,
            bytes_received: received,
            seconds: account.seconds.wall,
            compute_seconds: account.seconds.compute,
            wait_seconds: account.seconds.wait,
            exchange_seconds: account.seconds.exchange,
            rate: told.map_or(f64::NAN, |t| t.rate),
            silence: told.map_or(0, |t| t.silence),
            clip_fraction: told.filter(|_| clips).map(|t| t.shortened as f64 / t.spoke.max(1) as f64),
            residual_norm: account.residual,
            epsilon,
            ..Point::default()
        });
        Ok(())
    }

    /// Federated clients of a round, on average.
    fn seats(&mut self) -> Option<f64> {
        let worker = self.session.worker();
        worker.federated().then(|| worker.expected())
    }

    /// Writes the record, its summary, the recipe and the report into a folder: a collective call. Rank 0 is told where
    /// the report is.
    pub fn write(&mut self, folder: &Path, task: &str, label: &str) -> Result<Option<PathBuf>> {
        self.quiet()?;
        let Some(account) = self.account()? else { return Ok(None) };
        make_directory(folder)?;
        let mut journal = Journal::create(folder)?;
        self.record.points.iter().try_for_each(|point| journal.append(point))?;
        journal.finish()?;
        let recipe = self.recipe_file();
        write_aside(&folder.join(RECIPE), recipe.as_bytes())?;
        let summary = self.summary(&account, task, label);
        summary.write(folder)?;
        let view = RunView {
            name: folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned()),
            method: if label.is_empty() { summary.method.clone() } else { label.to_owned() },
            seed: self.seed,
            points: self.record.points.clone(),
            recipe,
            environment: summary.environment.clone(),
            summary,
        };
        let path = folder.join("report.html");
        page::write(&path, &format!("{} on {task}", view.method), std::slice::from_ref(&view))?;
        Ok(Some(path))
    }

    /// The recipe with what else makes the run.
    fn recipe_file(&mut self) -> String {
        let steps = self.session.worker().position().1;
        let steps = self.session.worker().total().unwrap_or(steps);
        format!("{}workers = {}\nseed = {}\nsteps = {steps}\n", self.recipe.to_toml(), self.ranks, self.seed)
    }

    fn summary(&mut self, account: &Account, task: &str, label: &str) -> Summary {
        let (sent, received) = account.ledger.busiest(self.ranks, self.seats());
        let n = self.seats().map_or(self.ranks as u64, |seats| (seats.round() as u64).max(1));
        let worker = self.session.worker();
        let ((rounds, steps), epsilon) = (worker.position(), worker.epsilon());
        let last = self.record.points.last().cloned().unwrap_or_default();
        let dense = (steps * 8 * (n - 1) * self.layout.len() as u64).checked_div(n).unwrap_or(0);
        let mut environment = BTreeMap::from([
            ("program".to_owned(), format!("sordino {} for Python", env!("CARGO_PKG_VERSION"))),
            ("system".to_owned(), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ]);
        if !self.record.resumed.is_empty() {
            environment.insert("resumed".to_owned(), self.record.resumed.join("; "));
        }
        Summary {
            method: self.recipe.method.clone(),
            label: label.to_owned(),
            task: task.to_owned(),
            workers: self.ranks,
            seed: self.seed,
            steps,
            rounds,
            epochs: last.epoch,
            parameters: self.layout.len(),
            train_loss: last.train_loss,
            eval_loss: last.eval_loss,
            accuracy: last.accuracy,
            epsilon,
            bytes_sent_per_worker: sent,
            bytes_received_per_worker: received,
            bytes_sync_fp32_per_worker: dense,
            compute_seconds: account.seconds.compute,
            exchange_seconds: account.seconds.exchange,
            wait_seconds: account.seconds.wait,
            wall_seconds: account.seconds.wall,
            cpu_seconds: (account.cpu > 0.0).then_some(account.cpu),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            link_seconds_100mbit: 8.0 * sent.max(received) as f64 / MEGABIT_100,
            flows: rows_of(&account.ledger),
            environment,
            ..Summary::default()
        }
    }
}
