//! What the engine costs: Burn's own loop and optimizer on its own module, against a whole round of `sync-sgd` with one
//! worker (gradient, encoding, exchange with itself, momentum), in interleaved blocks of steps on one thread.
//!
//! `cargo bench -p sordino-nets` prints the median time of a step of each, and the median ratio of 30 interleaved pairs
//! with the interval that holds it with 95 % confidence (order statistics, no assumption on the noise).

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use sordino::base::{Stream, Use};
use sordino::engine::{Session, Worker};
use sordino::fabric::{Metered, Still, connect};
use sordino::recipe::{Defaults, Recipe};
use sordino::workload::{Batch, Draw, Rows, Split, Workload as _};
use sordino_nets::{CharLstm, CharTransformer, Cnn, Data, ImageData, Images, Mlp, Model, Pass, ResNet20, Text};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RATE: f32 = 1e-3;
const MOMENTUM: f32 = 0.9;

fn images(side: usize, n: usize) -> ImageData {
    let mut stream = Stream::new(0, Use::Problem, 0, 0);
    let mut set = |n: usize| Images {
        pixels: (0..n * side * side).map(|_| stream.uniform()).collect(),
        labels: (0..n).map(|_| stream.below(10) as u32).collect(),
        channels: 1,
        height: side,
        width: side,
        classes: 10,
    };
    ImageData::new(set(n), set(10)).expect("made to fit")
}

fn text() -> Text {
    let mut stream = Stream::new(0, Use::Problem, 0, 0);
    let mut codes = |n: usize| (0..n).map(|_| stream.below(65) as u8).collect::<Vec<_>>();
    Text::new(codes(100_000), codes(1_000), vec!['a'; 65], 64).expect("made to fit")
}

fn draw(step: u64, batch: usize) -> Draw {
    Draw { seed: 0, client: 0, step, batch: Batch::Rows(batch) }
}

fn compare<C: Model>(name: &str, model: &C, data: &C::Data, batch: usize, steps: u64, pairs: usize) {
    let device = Device::default().autodiff();
    let mut workload = model.workload(data.clone()).expect("a workload");
    let d = workload.layout().len();
    let start = workload.start(0);
    let module = workload.evaluated(&start.parameters, &start.buffers).expect("a module");
    let mut module = Some(burn::module::Module::train(module)); // both begin at the same weights
    let mut optimizer = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(f64::from(MOMENTUM)).with_dampening(0.0)))
        .init();
    let mut rows = Rows::dealt(data.rows(Split::Train), 1);
    let mut bare = |from: u64| {
        let clock = Instant::now();
        for step in from..from + steps {
            let draw = draw(step, batch);
            let current = module.take().expect("put back below");
            let inputs = data.batch(Split::Train, rows.pick(&draw).expect("rows"), &device);
            let loss = C::outcome(&current, inputs, &mut Pass::training(draw.noise())).into_loss();
            let gradients = GradientsParams::from_grads(loss.backward(), &current);
            black_box(loss.into_scalar::<f32>());
            module = Some(optimizer.step(f64::from(RATE), current, gradients));
        }
        clock.elapsed().as_secs_f64() / steps as f64
    };

    let mut recipe = Recipe::named("sync-sgd").expect("a row");
    for choice in
        [format!("optim=sgd(rate={RATE}, momentum={MOMENTUM}, schedule=constant)"), format!("local.batch={batch}")]
    {
        recipe.set(&choice).expect("a choice");
    }
    recipe.resolve(&Defaults::default()).expect("resolved");
    let parts = recipe.build(Arc::new(Still)).expect("built");
    let worker = Worker::new(parts, &workload, 0, 0, 1, None);
    let port = Metered::new(connect(1).remove(0), Arc::new(Still));
    let mut session = Session::new(worker, Box::new(port));
    let mut engine = |_: u64| {
        let clock = Instant::now();
        for _ in 0..steps {
            black_box(session.round(&mut workload, 0).expect("a round"));
        }
        clock.elapsed().as_secs_f64() / steps as f64
    };

    let (mut bares, mut engines, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=pairs as u64 {
        let from = pair * steps;
        let (b, e) = if pair % 2 == 0 {
            let b = bare(from);
            (b, engine(from))
        } else {
            let e = engine(from);
            (bare(from), e)
        };
        if pair > 0 {
            bares.push(b);
            engines.push(e);
            ratios.push(e / b);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (bare, engine, ratio) = (median(&mut bares), median(&mut engines), median(&mut ratios));
    // The ranks n/2 -+ 0.98 sqrt(n) of n sorted ratios enclose the true median with 95 % confidence.
    let reach = (0.98 * (ratios.len() as f64).sqrt()).ceil() as usize;
    let (low, high) = (ratios[ratios.len() / 2 - reach], ratios[(ratios.len() / 2 + reach).min(ratios.len() - 1)]);
    println!(
        "{name:<24} d {d:>7}  batch {batch:>3}  burn {:>8.3} ms  sordino {:>8.3} ms  ratio {ratio:.3} ({low:.3} to {high:.3})",
        1e3 * bare,
        1e3 * engine,
    );
}

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--")).unwrap_or_default();
    let wanted = |name: &str| name.contains(&only);
    let (digits, fashion, text) = (images(8, 3823), images(28, 5000), text());
    if wanted("digits-mlp") {
        compare("digits-mlp", &Mlp::default(), &digits, 32, 200, 30);
    }
    if wanted("digits-cnn") {
        compare("digits-cnn", &Cnn::default(), &digits, 32, 20, 30);
    }
    if wanted("fashion-cnn") {
        compare("fashion-cnn", &Cnn::default(), &fashion, 32, 4, 30);
    }
    if wanted("fashion-resnet20") {
        compare("fashion-resnet20", &ResNet20::default(), &fashion, 32, 1, 30);
    }
    if wanted("shakespeare-lstm") {
        compare("shakespeare-lstm", &CharLstm::default(), &text, 16, 2, 30);
    }
    if wanted("shakespeare-transformer") {
        compare("shakespeare-transformer", &CharTransformer::default(), &text, 16, 2, 30);
    }
}
