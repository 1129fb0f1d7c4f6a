//! Error feedback: what is left unsaid, stepped ahead of or not.

use std::sync::Arc;

use sordino::base::{Stream, Use};
use sordino::testing::Trial;

use super::{ROUNDING, SEED, compare, cosine, farthest, library, models, problems};
use crate::oracle::{
    compress::{block, scaled_sign, top_k, top_k_per_tensor},
    cut::Cut,
    def, ef_sgd,
    ef_sgd::Down,
    inner::Inner,
    problem::{Compressor, Logistic, Noise, Problem, Quadratics, Rate},
    saef, sync_sgd,
};
use crate::worlds::{Posed, Shared, row, wide};

const STEPS: u64 = 80;
const OPTIM: &str = "optim=sgd(rate=0.02, momentum=0.9, decay=0.001, schedule=cosine)";

fn ef(problem: &dyn Problem, rate: Rate, momentum: f64, compress: Compressor, down: Down) -> Vec<Vec<f64>> {
    let settings = ef_sgd::Settings { rate, momentum, decay: 1e-3, compress, down };
    ef_sgd::trajectory(problem, &settings, STEPS as usize)
}

fn ahead(problem: &dyn Problem, rate: Rate, compress: Compressor, down: Down, average: u64) -> Vec<Vec<f64>> {
    let settings = saef::Settings { rate, momentum: 0.9, decay: 1e-3, compress, down, average };
    saef::trajectory(problem, &settings, STEPS as usize)
}

#[test]
fn error_feedback_both_ways() {
    let rate = cosine(0.02, 0, STEPS);
    for problem in problems(96) {
        let task = Posed::whole(problem.clone());
        let oracle = |momentum, down| ef(&*problem, &rate, momentum, &scaled_sign, down);
        let found = library("ef-sgd", &[OPTIM], &task, STEPS, STEPS);
        let controls = [oracle(0.89, Down::Feedback), oracle(0.9, Down::Compressed), oracle(0.9, Down::Dense)];
        compare("ef-sgd", &models(&found), &oracle(0.9, Down::Feedback), &controls);
        let bare = library("ef-sgd", &[OPTIM, "exchange.feedback=none"], &task, STEPS, STEPS);
        compare("ef-sgd, bare server", &models(&bare), &oracle(0.9, Down::Compressed), &[oracle(0.9, Down::Feedback)]);
        let dense = library("ef-sgd", &[OPTIM, "exchange=gather"], &task, STEPS, STEPS);
        compare("ef-sgd, gathered", &models(&dense), &oracle(0.9, Down::Dense), &[oracle(0.9, Down::Feedback)]);
    }
}

#[test]
fn error_feedback_over_selections_of_every_tensor() {
    let rate = cosine(0.02, 0, STEPS);
    let tensors = vec![70, 10, 64];
    let cut = Cut { tensors: tensors.clone(), bucket: usize::MAX, dense_below: 64 };
    for problem in problems(144) {
        let task = Posed { tensors: tensors.clone(), ..Posed::whole(problem.clone()) };
        let oracle = |ratio| ef(&*problem, &rate, 0.9, &|v| top_k_per_tensor(v, &cut, ratio), Down::Feedback);
        let sets = [OPTIM, "compress=topk(0.1)", "exchange=star(down=topk(0.1), feedback=residual)"];
        let found = library("ef-sgd", &sets, &task, STEPS, STEPS);
        compare("ef-sgd over top-k", &models(&found), &oracle(0.1), &[oracle(0.11)]);
        // One scale over the long tensors, the short one as it is.
        let oracle = |coded: &dyn Fn(&[f64]) -> Vec<f64>| {
            let compress = |v: &[f64]| {
                let mut out = coded(&[&v[..70], &v[80..]].concat());
                let tail = out.split_off(70);
                [&out[..], &v[70..80], &tail].concat()
            };
            ef(&*problem, &rate, 0.9, &compress, Down::Feedback)
        };
        let found = library("ef-sgd", &[OPTIM], &task, STEPS, STEPS);
        let per_tensor = |v: &[f64]| [scaled_sign(&v[..70]), scaled_sign(&v[70..])].concat();
        compare("ef-sgd over tensors", &models(&found), &oracle(&scaled_sign), &[oracle(&per_tensor)]);
    }
}

#[test]
fn step_ahead_with_and_without_error_averaging() {
    let rate = cosine(0.02, 0, STEPS);
    for problem in problems(96) {
        let task = Posed::whole(problem.clone());
        let oracle = |down, average| ahead(&*problem, &rate, &scaled_sign, down, average);
        let found = library("saef", &[OPTIM], &task, STEPS, STEPS);
        let controls = [
            oracle(Down::Feedback, 20),
            oracle(Down::Dense, 0),
            ef(&*problem, &rate, 0.9, &scaled_sign, Down::Feedback),
        ];
        compare("saef", &models(&found), &oracle(Down::Feedback, 0), &controls);
        let averaged = library("saef", &[OPTIM, "feedback.every=7"], &task, STEPS, STEPS);
        compare("saef, averaging", &models(&averaged), &oracle(Down::Feedback, 7), &[oracle(Down::Feedback, 8)]);
        let oracle = |average| ahead(&*problem, &rate, &|v| top_k(v, 0.1), Down::Feedback, average);
        let sets = [OPTIM, "compress=topk(0.1)", "exchange.down=topk(0.1)", "feedback.every=20"];
        let found = library("saef", &sets, &task, STEPS, STEPS);
        compare("saef over top-k", &models(&found), &oracle(20), &[oracle(0)]);
    }
}

/// The library's block of a round: one start a tensor from the shared stream.
fn blocks(tensors: &[usize], ratio: f64, seed: u64) -> impl Fn(u64, &[f64]) -> Vec<f64> {
    let tensors = tensors.to_vec();
    move |round, v| {
        let shared = Stream::new(seed, Use::Shared, 0, round);
        let (mut out, mut first) = (Vec::new(), 0);
        for (i, n) in tensors.iter().enumerate() {
            let start = shared.part(i as u64).below(*n as u64) as usize;
            out.extend(block(&v[first..first + n], start, ratio));
            first += n;
        }
        out
    }
}

#[test]
fn detached_error_feedback_with_one_block_a_tensor() {
    let tensors = vec![128, 64];
    let rate = cosine(0.02, 0, 2 * STEPS);
    for problem in problems(192) {
        let task = Posed { tensors: tensors.clone(), ..Posed::whole(problem.clone()) };
        for (every, ratio) in [(1, 64.0), (2, 8.0)] {
            let oracle = |lambda, seed| {
                let compress = blocks(&tensors, ratio, seed);
                let settings =
                    def::Settings { rate: &rate, momentum: 0.9, decay: 1e-3, lambda, every, compress: &compress };
                def::trajectory(&*problem, &settings, STEPS as usize)
            };
            let sets = [OPTIM.to_owned(), format!("schedule.every={every}"), format!("compress.ratio={}", 1.0 / ratio)];
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            let found = library("def", &sets, &task, 2 * STEPS, STEPS);
            compare("def", &models(&found), &oracle(0.3, SEED).x, &[oracle(0.35, SEED).x, oracle(0.3, SEED + 1).x]);

            let recipe = row("def", &sets);
            let trial = Trial::new(&recipe, &task, 4, SEED, 2 * STEPS);
            let evaluated = trial.with(
                |port| Box::new(port),
                |mut session, mut workload| {
                    let mut all = vec![wide(session.worker().model())];
                    for _ in 0..STEPS {
                        session.round(&mut *workload, 0)?;
                        all.push(wide(&session.evaluated(&mut *workload)?.parameters));
                    }
                    Ok(all)
                },
            );
            let evaluated = evaluated.unwrap();
            assert!(evaluated.iter().all(|e| *e == evaluated[0]));
            compare("def, judged", &evaluated[2], &oracle(0.3, SEED).evaluated, &[oracle(0.3, SEED).x]);
        }
    }
}

/// On one worker every coordinate of x is where plain momentum SGD had it when the coordinate was last drawn.
#[test]
fn a_residual_mixture_takes_over_coordinates_of_the_path_of_sgd() {
    let rate = cosine(0.02, 0, STEPS);
    let alone: [Shared; 2] = [
        Arc::new(Quadratics::scattered(1, 144, Noise::Normal(0.2))),
        Arc::new(Logistic::waves(1, 12, 144, 1e-2, Some(3))),
    ];
    for problem in alone {
        let task = Posed::whole(problem.clone());
        let walk = |momentum| {
            let inner = Inner::Sgd { momentum, decay: 1e-3 };
            let settings = sync_sgd::Settings { rate: &rate, inner };
            sync_sgd::trajectory(&*problem, &settings, STEPS as usize)
        };
        let ranks = library("residual-mixture", &[OPTIM], &task, STEPS, STEPS);
        let found: Vec<Vec<f64>> = ranks[0].models().iter().map(|m| wide(m)).collect();
        // Coordinates that are neither where they were nor where the walk is, and how many are taken over a round.
        let strangers = |walk: &[Vec<f64>]| {
            let (mut strangers, mut taken) = (0, Vec::new());
            for t in 1..found.len() {
                let moved: Vec<usize> = (0..144).filter(|j| found[t][*j] != found[t - 1][*j]).collect();
                strangers += moved.iter().filter(|j| (found[t][**j] - walk[t][**j]).abs() > ROUNDING).count();
                taken.push(moved.len());
            }
            (strangers, taken)
        };
        let (none, taken) = strangers(&walk(0.9));
        assert_eq!(none, 0);
        assert!(taken.iter().all(|n| (13..=14).contains(n)), "a tenth of 144: {taken:?}");
        assert!(strangers(&walk(0.89)).0 > 500, "another walk is told apart");
    }
}

#[test]
fn one_round_from_where_the_library_stands() {
    // The library's own state before a round, and what the reference makes of it in one round of one worker: there no
    // decision can have drifted. With one worker the reference of EF starts from a model and no residual; the residual
    // is carried in by hand as a first gradient, since D = e + η g.
    let quadratics = Quadratics::scattered(1, 96, Noise::Normal(0.2));
    let logistic = Logistic::waves(1, 12, 96, 1e-2, Some(3));
    for problem in [Arc::new(quadratics) as crate::worlds::Shared, Arc::new(logistic)] {
        let sets = ["optim.rate=0.02", "exchange=gather", "compress=topk(0.1)"];
        let found = library_of_one("ef-sgd", &sets, &problem);
        for (t, pair) in found.rounds.windows(2).enumerate() {
            let x = wide(&pair[0].model);
            let e = wide(&pair[0].state.vectors["feedback/residual"]);
            let g = problem.gradient(0, t as u64 + 1, &x);
            let offer: Vec<f64> = e.iter().zip(&g).map(|(e, g)| e + 0.02 * g).collect();
            let z = top_k(&offer, 0.1);
            let model: Vec<f64> = x.iter().zip(&z).map(|(x, z)| x - z).collect();
            let kept: Vec<f64> = offer.iter().zip(&z).map(|(d, z)| d - z).collect();
            let after = [wide(&pair[1].model), wide(&pair[1].state.vectors["feedback/residual"])];
            // One round's rounding: a few units in the last place.
            assert!(farthest(&after, &[model, kept]) < 1e-6, "round {t}");
        }
    }
}

fn library_of_one(name: &str, sets: &[&str], problem: &crate::worlds::Shared) -> sordino::testing::Rank {
    library(name, sets, &Posed::whole(problem.clone()), STEPS, STEPS).remove(0)
}
