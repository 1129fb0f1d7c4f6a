//! What it costs to train through flat vectors: Burn's own loop and optimizer on its own module, against `gradient`
//! and momentum on the flat vector, in interleaved blocks of steps on one thread.
//!
//! `cargo bench -p sordino-nets` prints the median time of a step of each and the median ratio of neighbours.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use sordino::base::{Stream, Use};
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
    let (mut x, mut buffers) = (start.parameters, start.buffers);
    let module = workload.evaluated(&x, &buffers).expect("a module");
    let mut module = Some(burn::module::Module::train(module)); // both begin at the same weights
    let mut optimizer = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(f64::from(MOMENTUM)).with_dampening(0.0)))
        .init();
    let mut rows = Rows::dealt(data.rows(Split::Train), 0, 1);
    let mut bare = |from: u64| {
        let clock = Instant::now();
        for step in from..from + steps {
            let draw = draw(step, batch);
            let current = module.take().expect("put back below");
            let inputs = data.batch(Split::Train, rows.pick(&draw), &device);
            let loss = C::outcome(&current, inputs, &mut Pass::training(draw.noise())).into_loss();
            let gradients = GradientsParams::from_grads(loss.backward(), &current);
            black_box(loss.into_scalar::<f32>());
            module = Some(optimizer.step(f64::from(RATE), current, gradients));
        }
        clock.elapsed().as_secs_f64() / steps as f64
    };

    let (mut gradient, mut velocity) = (vec![0.0f32; d], vec![0.0f32; d]);
    let mut flat = |from: u64| {
        let clock = Instant::now();
        for step in from..from + steps {
            black_box(workload.gradient(&x, &mut buffers, &draw(step, batch), &mut gradient).expect("a gradient"));
            for ((x, v), g) in x.iter_mut().zip(&mut velocity).zip(&gradient) {
                *v = MOMENTUM * *v + g;
                *x -= RATE * *v;
            }
        }
        clock.elapsed().as_secs_f64() / steps as f64
    };

    let (mut bares, mut flats, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=pairs as u64 {
        let from = pair * steps;
        let (b, f) = if pair % 2 == 0 {
            let b = bare(from);
            (b, flat(from))
        } else {
            let f = flat(from);
            (bare(from), f)
        };
        if pair > 0 {
            bares.push(b);
            flats.push(f);
            ratios.push(f / b);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{name:<24} d {d:>7}  batch {batch:>3}  burn {:>8.3} ms  flat {:>8.3} ms  ratio {:.3}",
        1e3 * median(&mut bares),
        1e3 * median(&mut flats),
        median(&mut ratios)
    );
}

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--")).unwrap_or_default();
    let wanted = |name: &str| name.contains(&only);
    let (digits, fashion, text) = (images(8, 3823), images(28, 5000), text());
    if wanted("digits-mlp") {
        compare("digits-mlp", &Mlp::default(), &digits, 32, 200, 41);
    }
    if wanted("digits-cnn") {
        compare("digits-cnn", &Cnn::default(), &digits, 32, 20, 21);
    }
    if wanted("fashion-cnn") {
        compare("fashion-cnn", &Cnn::default(), &fashion, 32, 4, 21);
    }
    if wanted("fashion-resnet20") {
        compare("fashion-resnet20", &ResNet20::default(), &fashion, 32, 1, 11);
    }
    if wanted("shakespeare-lstm") {
        compare("shakespeare-lstm", &CharLstm::default(), &text, 16, 2, 31);
    }
    if wanted("shakespeare-transformer") {
        compare("shakespeare-transformer", &CharTransformer::default(), &text, 16, 2, 21);
    }
}
