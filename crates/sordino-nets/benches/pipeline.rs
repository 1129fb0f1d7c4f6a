//! What pipelines gain: an MLP of wide layers cut into blocks, on two workers, against one batch at a time.
//!
//! `cargo bench -p sordino-nets --bench pipeline` prints, for each placement, the median time of an iteration and the
//! median ratio to `pipeline-sync` over interleaved runs, with the interval that holds it with 95 % confidence (order
//! statistics, no assumption on the noise). A second table makes one worker, drawn at random for every batch, do its work
//! on it three times: what a slow moment of one worker costs everybody. However the network is cut, that is a batch's work
//! more on average. It wants two cores of its own; `-- quick` makes three runs, whose interval is from the least to the
//! most and holds the median with 75 %.
//!
//! A batch costs a block f forward and b = 2f back. One batch at a time takes 3f a layer; where nobody waits, two
//! workers take half of that, which is the bound of Ouroboros; DSP passes the batches of its first block twice, so
//! the best cut of 14 layers is 6 and 8, and the bound 42/24 = 1.75; eight parts of a batch through two blocks take 9/8 of
//! half, so GPipe's bound is 1.78.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::ops::Range;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use sordino::base::{Layout, Result, Stream, Use};
use sordino::engine::Session;
use sordino::fabric::{Port as _, Still, connect, on_threads};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Back, Deal, Draw, Flow, Metrics, Piece, Split, Stage, Start, Task, Workload};
use sordino_nets::{ImageData, Images, Mlp, Model as _};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wide layers, beside a narrow one at either end.
const LAYERS: usize = 14;
const WIDTH: usize = 384;
const BATCH: usize = 256;
/// Iterations before those that are timed: the links have filled, and the first block hears of batches eight
/// iterations old where four wait on each of two links.
const BEFORE: u64 = 10;
const TIMED: u64 = 16;

fn data() -> ImageData {
    let mut stream = Stream::new(0, Use::Problem, 0, 0);
    let mut set = |n: usize| Images {
        pixels: (0..n * 16).map(|_| stream.normal()).collect(),
        labels: (0..n).map(|_| stream.below(10) as u32).collect(),
        channels: 1,
        height: 4,
        width: 4,
        classes: 10,
    };
    ImageData::new(set(4096), set(10)).expect("made to fit")
}

/// One worker of two, drawn at random for every batch, does its work on it three times.
struct SlowStage {
    inner: Box<dyn Stage>,
    worker: u64,
}

impl SlowStage {
    fn is_hit(&self, piece: &Piece) -> bool {
        Stream::new(0, Use::Fault, 0, piece.draw.step).below(2) == self.worker
    }
}

impl Stage for SlowStage {
    fn load(&mut self, x: &[f32]) -> Result<()> {
        self.inner.load(x)
    }

    fn forward(&mut self, piece: &Piece, input: &Flow, keep: bool) -> Result<Flow> {
        for _ in 0..if self.is_hit(piece) { 2 } else { 0 } {
            self.inner.forward(piece, input, keep)?;
        }
        self.inner.forward(piece, input, keep)
    }

    /// A way back uses up what was kept, so its work is not repeated: its time is spent again.
    fn backward(&mut self, piece: &Piece, error: &[f32], gradient: &mut [f32]) -> Result<Back> {
        let began = Instant::now();
        let back = self.inner.backward(piece, error, gradient)?;
        if self.is_hit(piece) {
            let again = 2 * began.elapsed();
            let until = Instant::now() + again;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        Ok(back)
    }
}

/// A network whose workers are slow now and then.
struct SlowNet {
    inner: Box<dyn Workload>,
    worker: u64,
}

impl Workload for SlowNet {
    fn layout(&self) -> &Layout {
        self.inner.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        self.inner.gradient(x, buffers, draw, gradient)
    }

    fn layers(&self) -> Vec<Vec<usize>> {
        self.inner.layers()
    }

    fn stage(&self, layers: Range<usize>) -> Result<Box<dyn Stage>> {
        Ok(Box::new(SlowStage { inner: self.inner.stage(layers)?, worker: self.worker }))
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, buffers, split)
    }
}

struct Case {
    name: &'static str,
    recipe: Recipe,
}

fn case(name: &'static str, row: &str, sets: &[&str]) -> Case {
    let mut recipe = Recipe::named(row).expect("a row");
    let batch = format!("local.batch={BATCH}");
    for set in ["optim=sgd(rate=0.001, momentum=0.9, schedule=constant)", &batch].iter().chain(sets) {
        recipe.set(set).expect("a choice");
    }
    recipe.resolve(&Defaults::default()).expect("resolved");
    check(&recipe).expect("sound");
    Case { name, recipe }
}

/// Seconds of an iteration on two workers.
fn time(case: &Case, task: &dyn Task, slow: bool) -> f64 {
    let barrier = Barrier::new(2);
    let seconds = on_threads(connect(2), |port| {
        let parts = case.recipe.build(Arc::new(Still))?;
        let mut whole = task.workload(1, 0)?;
        if slow {
            whole = Box::new(SlowNet { inner: whole, worker: port.rank() as u64 });
        }
        let (mut session, mut share) = Session::join(parts, whole, Box::new(port), 0, None)?;
        for _ in 0..BEFORE {
            session.round(&mut *share, 0)?;
        }
        barrier.wait();
        let began = Instant::now();
        for _ in 0..TIMED {
            session.round(&mut *share, 0)?;
        }
        barrier.wait();
        Ok(began.elapsed().as_secs_f64() / TIMED as f64)
    });
    seconds.expect("a run").into_iter().fold(0.0, f64::max)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The ranks n/2 -+ 0.98 sqrt(n) of n sorted ratios enclose the true median with 95 % confidence.
fn interval(ratios: &[f64]) -> (f64, f64) {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let reach = (0.98 * (sorted.len() as f64).sqrt()).ceil() as usize;
    let middle = sorted.len() / 2;
    (sorted[middle.saturating_sub(reach)], sorted[(middle + reach).min(sorted.len() - 1)])
}

fn table(title: &str, cases: &[Case], task: &dyn Task, slow: bool, runs: usize, calm: Option<&[f64]>) -> Vec<f64> {
    let mut seconds = vec![Vec::with_capacity(runs); cases.len()];
    for run in 0..=runs {
        for i in 0..cases.len() {
            // Each run begins with another one.
            let at = (i + run) % cases.len();
            let took = time(&cases[at], task, slow);
            if run > 0 {
                seconds[at].push(took);
            }
        }
    }
    println!("\n{title}");
    for (at, (case, own)) in cases.iter().zip(&seconds).enumerate() {
        let ratios: Vec<f64> = seconds[0].iter().zip(own).map(|(sync, own)| sync / own).collect();
        let (low, high) = interval(&ratios);
        let added = calm.map_or(String::new(), |calm| format!("  {:+.1} ms", 1e3 * (median(own) - calm[at])));
        println!(
            "{:<16} {:>8.2} ms  {:.3} times as fast ({low:.3} to {high:.3}){added}",
            case.name,
            1e3 * median(own),
            median(&ratios)
        );
    }
    seconds.iter().map(|own| median(own)).collect()
}

fn main() {
    let quick = std::env::args().any(|a| a == "quick");
    let runs = if quick { 3 } else { 9 };
    let task = Mlp { hidden: vec![WIDTH; LAYERS + 1], dropout: 0.0 }.task("wide", data(), Deal::Iid);
    let cases = [
        case("pipeline-sync", "pipeline-sync", &["placement.blocks=2"]),
        case("gpipe, 8 parts", "gpipe", &["placement.blocks=2"]),
        case("ouroboros, K=3", "ouroboros", &["placement.blocks=3"]),
        case("dsp, K=2", "dsp", &["placement.blocks=2"]),
        case("dsp, capacity 4", "dsp", &["placement.blocks=2", "placement.capacity=4"]),
    ];
    println!("an MLP of {LAYERS} layers of width {WIDTH}, batches of {BATCH}, two workers, {runs} interleaved runs");
    let calm = table("all workers alike", &cases, &task, false, runs, None);
    table("one worker, drawn for every batch, works three times", &cases, &task, true, runs, Some(&calm));
}
