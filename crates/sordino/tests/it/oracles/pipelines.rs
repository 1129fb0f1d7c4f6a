//! Networks cut into blocks against references that are cut as well: the library's chain without biases, whose rows are
//! drawn here once more, and after every iteration the weights of all blocks.

use sordino::base::{Stream, Use};
use sordino::testing::Trial;
use sordino::workload::{self, Draw, Rows, Split, Task};

use super::{SEED, compare, cosine};
use crate::oracle::{
    chain::{Batch, Chain, Rows as Rows64, Weights, states, step},
    dsp, gpipe,
    inner::Inner,
    ouroboros, pipeline_sync,
    queues::{self, Lines},
};
use crate::worlds::{CHAIN, row, wide};

const LAYERS: usize = 7;
const WIDTH: usize = 4;
const ITERATIONS: usize = 60;

const MOMENTUM: Inner = Inner::Sgd { momentum: 0.9, decay: 0.0 };

/// How the two sides step, what the reference calls it, and the peak of its rate.
const OPTIMS: [(&str, Inner, f64); 3] = [
    ("optim=sgd(rate=0.05, momentum=0, schedule=cosine)", Inner::PLAIN, 0.05),
    (
        "optim=sgd(rate=0.01, momentum=0.9, decay=0.001, schedule=cosine)",
        Inner::Sgd { momentum: 0.9, decay: 1e-3 },
        0.01,
    ),
    ("optim=adamw(rate=0.01, schedule=cosine)", Inner::ADAMW, 0.01),
];

/// Where K blocks begin: the numbers of layers that `placement.cuts` asks for, and those where the reference's end.
fn cuts(blocks: usize) -> (&'static str, &'static [usize]) {
    match blocks {
        2 => ("placement.cuts=at(3)", &[3, LAYERS]),
        3 => ("placement.cuts=at(1, 5)", &[1, 5, LAYERS]),
        4 => ("placement.cuts=at(2, 3, 5)", &[2, 3, 5, LAYERS]),
        _ => panic!("{blocks}"),
    }
}

/// Both sides of a network and its data.
struct Both {
    task: workload::Chain,
    start: Weights,
    inputs: Rows64,
    targets: Rows64,
    batch: usize,
}

impl Both {
    fn new(tied: bool, batch: usize) -> Self {
        let task = workload::Chain { bias: false, dropout: 0.0, tied, ..CHAIN };
        assert_eq!((task.layers, task.width, task.tanh), (LAYERS, WIDTH, true));
        let normals = |index, n| -> Vec<f64> {
            let mut stream = Stream::new(SEED, Use::Problem, 0, index);
            (0..n).map(|_| f64::from(stream.normal())).collect()
        };
        let (inputs, map) = (normals(0, task.rows * WIDTH), normals(1, WIDTH * WIDTH));
        let inputs: Rows64 = inputs.chunks(WIDTH).map(<[f64]>::to_vec).collect();
        let entry = |a: &[f64], m: &[f64]| (0..WIDTH).map(|j| m[j] * a[j]).sum::<f64>() / (WIDTH as f64).sqrt();
        let targets = inputs.iter().map(|a| map.chunks(WIDTH).map(|m| entry(a, m)).collect()).collect();
        let mut whole = task.workload(1, SEED).unwrap();
        let parameters = whole.start(SEED).parameters;
        let both = Self { start: weights(&wide(&parameters)), task, inputs, targets, batch };
        // That these are the library's data: the losses agree.
        let all = Batch { inputs: both.inputs.clone(), targets: both.targets.clone() };
        let loss = whole.evaluate(&parameters, &[], Split::Train).unwrap().unwrap().loss;
        assert!((Both::chain(4).loss(&both.start, &all) - loss).abs() < 1e-6, "{loss}");
        both
    }

    /// The reference's network in so many blocks.
    fn chain(blocks: usize) -> Chain {
        Chain { sizes: vec![WIDTH; LAYERS + 1], tanh: true, blocks: Vec::new() }.cut(cuts(blocks).1)
    }

    /// What iteration t sends forward.
    fn batch(&self, t: u64) -> Batch {
        let mut rows = Rows::dealt(self.task.rows, 1);
        let draw = Draw { seed: SEED, client: 0, step: t, batch: workload::Batch::Rows(self.batch) };
        let of = |data: &Rows64, picked: &[u32]| picked.iter().map(|row| data[*row as usize].clone()).collect();
        let picked = rows.pick(&draw).unwrap();
        Batch { inputs: of(&self.inputs, picked), targets: of(&self.targets, picked) }
    }

    /// The weights of the library's run, at the start and after every iteration.
    fn library(&self, name: &str, sets: &[&str], workers: usize) -> Vec<Vec<f64>> {
        let batch = format!("local.batch={}", self.batch);
        let recipe = row(name, &[sets, &[&batch]].concat());
        let ranks = Trial::new(&recipe, &self.task, workers, SEED, ITERATIONS as u64).run().unwrap();
        assert!(ranks.iter().all(|rank| rank.models() == ranks[0].models()));
        ranks[0].models().iter().map(|m| weights(&wide(m)).concat()).collect()
    }

    /// Exact back-propagation.
    fn exact(&self, inner: Inner, peak: f64) -> Vec<Vec<f64>> {
        let rate = cosine(peak, 0, ITERATIONS as u64);
        let settings = pipeline_sync::Settings { rate: &rate, inner, batch: &|t| self.batch(t) };
        flat(&pipeline_sync::trajectory(&Self::chain(3), &settings, &self.start, ITERATIONS as u64))
    }
}

/// A vector of the library as matrices; what is one matrix for two layers as two.
fn weights(parameters: &[f64]) -> Weights {
    let mut weights: Weights = parameters.chunks(WIDTH * WIDTH).map(<[f64]>::to_vec).collect();
    if weights.len() < LAYERS {
        weights.push(weights[0].clone());
    }
    assert_eq!(weights.len(), LAYERS);
    weights
}

fn flat(models: &[Weights]) -> Vec<Vec<f64>> {
    models.iter().map(|w| w.concat()).collect()
}

#[test]
fn a_pipeline_that_waits_is_exact_back_propagation() {
    let both = Both::new(false, 8);
    for (optim, inner, peak) in OPTIMS {
        let reference = both.exact(inner, peak);
        for blocks in [2, 3, 4] {
            let sets = [optim, cuts(blocks).0];
            let found = both.library("pipeline-sync", &sets, blocks);
            let controls = [both.exact(inner, 1.01 * peak), both.library("dsp", &sets, blocks)];
            compare("pipeline-sync", &found, &reference, &controls);
        }
    }
}

#[test]
fn micro_batches_make_one_step_whether_they_are_alike_or_not() {
    for (batch, micro) in [(8, 4), (8, 8), (8, 3), (7, 2), (5, 8)] {
        let both = Both::new(false, batch);
        for (optim, inner, peak) in OPTIMS {
            let (chain, rate) = (Both::chain(3), cosine(peak, 0, ITERATIONS as u64));
            let oracle = |batch: &dyn Fn(u64) -> Batch| {
                let settings = gpipe::Settings { rate: &rate, inner, micro, batch };
                flat(&gpipe::trajectory(&chain, &settings, &both.start, ITERATIONS as u64))
            };
            let sets = [optim, cuts(3).0, &format!("placement.micro={micro}")];
            let found = both.library("gpipe", &sets, 3);
            // The control: a row less. Where parts are unequal, the mean of their means as well.
            let short = |t| {
                let Batch { mut inputs, mut targets } = both.batch(t);
                inputs.pop();
                targets.pop();
                Batch { inputs, targets }
            };
            let mut controls = vec![oracle(&short)];
            if batch % micro != 0 && micro < batch {
                controls.push(mean_of_means(&both, &chain, (inner, &rate), micro));
            }
            compare("gpipe", &found, &oracle(&|t| both.batch(t)), &controls);
        }
    }
}

/// What becomes of parts that count alike, however many rows they have.
fn mean_of_means(
    both: &Both,
    chain: &Chain,
    (inner, rate): (Inner, &dyn Fn(u64) -> f64),
    micro: usize,
) -> Vec<Vec<f64>> {
    let (mut weights, mut states) = (both.start.clone(), states(&both.start));
    let mut out = vec![weights.concat()];
    for t in 0..ITERATIONS as u64 {
        let Batch { inputs, targets } = both.batch(t);
        let mut mean: Weights = weights.iter().map(|w| vec![0.0; w.len()]).collect();
        for m in 0..micro {
            let rows = m * inputs.len() / micro..(m + 1) * inputs.len() / micro;
            let part = Batch { inputs: inputs[rows.clone()].to_vec(), targets: targets[rows].to_vec() };
            for (mean, g) in mean.iter_mut().zip(chain.gradient(&weights, &part)) {
                mean.iter_mut().zip(g).for_each(|(mean, g)| *mean += g / micro as f64);
            }
        }
        step((&mut states, inner, rate(t)), &mut weights, 0..LAYERS, &mean);
        out.push(weights.concat());
    }
    out
}

#[test]
fn blocks_that_wait_for_nobody_go_back_through_their_newest_weights() {
    let both = Both::new(false, 8);
    for (optim, inner, peak) in OPTIMS {
        for blocks in [2, 3, 4] {
            let (chain, rate) = (Both::chain(blocks), cosine(peak, 0, ITERATIONS as u64));
            let oracle = |capacity: usize| {
                let settings = dsp::Settings {
                    rate: &rate,
                    inner,
                    capacity: vec![capacity; blocks - 1],
                    batch: &|t| both.batch(t),
                    turn: &|t| (t % blocks as u64) as usize,
                };
                flat(&dsp::run(&chain, &settings, &both.start, ITERATIONS).models)
            };
            for capacity in [1, 2] {
                let of = |capacity: usize, stale: &str| {
                    let placement = format!("placement.capacity={capacity}");
                    let sets = [optim, cuts(blocks).0, &placement, &format!("placement.stale={stale}")];
                    both.library("dsp", &sets, blocks)
                };
                // Kept passes wait on the way back alone: twice as many there are as stale.
                let controls = [oracle(capacity + 1), of(2 * capacity, "stash"), both.exact(inner, peak)];
                compare("dsp", &of(capacity, "recompute"), &oracle(capacity), &controls);
            }
        }
    }
}

#[test]
fn blocks_that_wait_for_nobody_are_a_simulation_of_queues_bit_for_bit() {
    const BATCH: usize = 8;
    let task = workload::Chain { bias: false, dropout: 0.0, ..CHAIN };
    let matrices = |x: &[f32]| -> Vec<Lines> {
        x.chunks(WIDTH * WIDTH).map(|w| w.chunks(WIDTH).map(<[f32]>::to_vec).collect()).collect()
    };
    let normals = |index, n: usize| -> Lines {
        let mut stream = Stream::new(SEED, Use::Problem, 0, index);
        let all: Vec<f32> = (0..n * WIDTH).map(|_| stream.normal()).collect();
        all.chunks(WIDTH).map(<[f32]>::to_vec).collect()
    };
    let (inputs, map) = (normals(0, task.rows), normals(1, WIDTH));
    let batch = |t: u64| {
        let mut rows = Rows::dealt(task.rows, 1);
        let draw = Draw { seed: SEED, client: 0, step: t, batch: workload::Batch::Rows(BATCH) };
        let picked: Lines = rows.pick(&draw).unwrap().iter().map(|row| inputs[*row as usize].clone()).collect();
        let target = |a: &Vec<f32>| -> Vec<f32> {
            map.iter().map(|m| (queues::dot(m, a) / (WIDTH as f64).sqrt()) as f32).collect()
        };
        let targets = picked.iter().map(target).collect();
        (picked, targets)
    };
    let start = matrices(&task.workload(1, SEED).unwrap().start(SEED).parameters);
    for (optim, settings) in [
        ("optim=sgd(rate=0.05, momentum=0, schedule=constant)", (0.05, 0.0)),
        ("optim=sgd(rate=0.01, momentum=0.9, schedule=constant)", (0.01, 0.9)),
    ] {
        for blocks in [2, 3, 4] {
            for (stale, capacity) in [("recompute", 1), ("recompute", 2), ("stash", 1), ("stash", 2)] {
                let stash = stale == "stash";
                let queues = |(forward, back): (usize, usize), stash: bool| {
                    let waiting = (if stash { 0 } else { forward }, back);
                    let blocks = Both::chain(blocks).blocks;
                    let settings = queues::Settings { optim: settings, waiting, stash, blocks, batch: &batch };
                    queues::run(&settings, &start, ITERATIONS as u64)
                };
                let placement = [format!("placement.capacity={capacity}"), format!("placement.stale={stale}")];
                let batch = format!("local.batch={BATCH}");
                let recipe = row("dsp", &[optim, cuts(blocks).0, &placement[0], &placement[1], &batch]);
                let ranks = Trial::new(&recipe, &task, blocks, SEED, ITERATIONS as u64).run().unwrap();
                let found: Vec<Vec<Lines>> = ranks[0].models().iter().map(|model| matrices(model)).collect();
                let what = format!("{optim}, {blocks} blocks, {stale}, capacity {capacity}");
                assert_eq!(first_apart(&found, &queues((capacity, capacity), stash)), None, "{what}");
                // A step more of delay on the way back, and what the other one goes back through.
                assert!(first_apart(&found, &queues((capacity, capacity + 1), stash)).is_some(), "{what}");
                assert!(first_apart(&found, &queues((capacity, capacity), !stash)).is_some(), "{what}");
            }
        }
    }
}

/// The first iteration after which two runs have other bits.
fn first_apart(one: &[Vec<Lines>], other: &[Vec<Lines>]) -> Option<usize> {
    assert_eq!(one.len(), other.len());
    let bits = |models: &Vec<Lines>| -> Vec<u32> { models.concat().concat().iter().map(|x| x.to_bits()).collect() };
    (0..one.len()).find(|t| bits(&one[*t]) != bits(&other[*t]))
}

#[test]
fn every_block_takes_the_gradient_of_the_point_at_which_its_batch_passed() {
    // Blocks that wait take no step in the reference, and one along zeros in the library, which is the same without
    // decay and bias corrections.
    for tied in [false, true] {
        let both = Both::new(tied, 8);
        for (optim, inner, peak) in [
            ("optim=sgd(rate=0.03, momentum=0, schedule=cosine)", Inner::PLAIN, 0.03),
            ("optim=sgd(rate=0.006, momentum=0.9, schedule=cosine)", MOMENTUM, 0.006),
        ] {
            for blocks in [2, 3, 4] {
                let (chain, rate) = (Both::chain(blocks), cosine(peak, 0, ITERATIONS as u64));
                let oracle = |chain: &Chain, tied: bool| {
                    let tied = if tied { vec![(0, LAYERS - 1)] } else { Vec::new() };
                    let settings = ouroboros::Settings { rate: &rate, inner, tied, batch: &|t| both.batch(t) };
                    flat(&ouroboros::trajectory(chain, &settings, &both.start, ITERATIONS))
                };
                let of = |set: &str| both.library("ouroboros", &[optim, cuts(blocks).0, set], blocks - 1);
                let mut controls = vec![
                    of("placement.capacity=2"),
                    of("placement.stale=recompute"),
                    oracle(&Both::chain(if blocks == 4 { 3 } else { blocks + 1 }), tied),
                ];
                if tied {
                    // Two matrices in the place of one.
                    controls.push(oracle(&chain, false));
                } else {
                    controls.push(both.exact(inner, peak));
                }
                compare("ouroboros", &of("placement.capacity=1"), &oracle(&chain, tied), &controls);
            }
        }
    }
}
