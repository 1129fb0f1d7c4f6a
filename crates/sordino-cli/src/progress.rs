//! A live line for each run, with the time left; silent when the output is no terminal.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sordino_claims::Watch;
use sordino_lab::experiment::{Observer, Progress};
use sordino_lab::record::Point;

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// Once: the run finishes its round, saves and reports. Twice: now. One of several processes says so; it decides for all.
pub fn listen(speaks: bool) {
    // A second handler (several runs in one command) is refused; the first serves all.
    let _ = ctrlc::set_handler(move || {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            if speaks {
                eprintln!("\nsordino: stopped at once; what was saved last is in the checkpoint");
            }
            std::process::exit(130);
        }
        if speaks {
            eprintln!("\nsordino: finishing the round, then saving; once more stops at once");
        }
    });
}

/// Whether the user asked to stop.
pub fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// Whoever watches for the processes that are not the first: it shows nothing.
pub struct Quiet;

impl Observer for Quiet {}

/// A progress line.
pub struct Line {
    bar: ProgressBar,
    losses: Mutex<(Option<f64>, Option<f64>)>,
}

impl Line {
    /// A line that begins with `label`, padded to `width`.
    pub fn new(label: &str, width: usize, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        let style = ProgressStyle::with_template("{prefix} {bar:24.cyan/dim} {percent:>3}%  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
        bar.set_prefix(format!("{label:<width$}"));
        Self { bar, losses: Mutex::new((None, None)) }
    }

    /// Leaves the line as it stands.
    pub fn done(&self, words: &str) {
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24.green/dim} {percent:>3}%  {msg}") {
            self.bar.set_style(style.progress_chars("━━─"));
        }
        self.bar.abandon_with_message(words.to_owned());
    }
}

/// One line for runs of many claims.
pub struct Suite {
    bar: ProgressBar,
    /// Runs of the claims before this one.
    before: AtomicU64,
}

impl Suite {
    /// A line for so many runs.
    pub fn new(runs: u64, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(runs), target);
        let style = ProgressStyle::with_template("{prefix:<20} {bar:24.cyan/dim} {pos}/{len} runs  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
        Self { bar, before: AtomicU64::new(0) }
    }

    /// A claim begins.
    pub fn begin(&self, row: &str) {
        self.bar.set_prefix(row.to_owned());
        self.bar.tick();
    }

    /// A claim of so many runs has ended: its words stand above the line.
    pub fn ended(&self, runs: u64, words: &str) {
        self.bar.set_position(self.before.fetch_add(runs, Ordering::Relaxed) + runs);
        self.bar.suspend(|| say!("{words}"));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Suite {
    fn done(&self, _: &str, done: usize, _: usize) {
        self.bar.set_position(self.before.load(Ordering::Relaxed) + done as u64);
    }

    fn stop(&self) -> bool {
        interrupted()
    }
}

impl Observer for Line {
    fn round(&self, progress: &Progress) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.steps);
        let accuracy = progress.accuracy.map(|a| format!("  accuracy {:.1} %", 100.0 * a)).unwrap_or_default();
        let epsilon = progress.epsilon.map(|e| format!("  epsilon {e:.2}")).unwrap_or_default();
        self.bar.set_message(format!("loss {:.4}{accuracy}{epsilon}  round {}", progress.loss, progress.rounds));
    }

    fn point(&self, point: &Point) {
        if let Ok(mut losses) = self.losses.lock() {
            *losses = (Some(point.train_loss), point.accuracy);
        }
    }

    fn stop(&self) -> bool {
        interrupted()
    }
}
