//! Quantized gradients. The references draw what the library draws: entry j of piece p of worker i in round r is number
//! j of part p of the encoding stream of (i, r).

use sordino::base::{Stream, Use};

use super::{SEED, compare, cosine, library, models, problems};
use crate::oracle::{
    bingrad_b, bingrad_pb,
    cut::Cut,
    inner::Inner,
    orq,
    problem::{Problem, Rate, Uniform},
    qsgd,
    qsgd::Scale,
    terngrad,
};
use crate::worlds::Posed;

const ROUNDS: u64 = 60;
const INNER: Inner = Inner::Sgd { momentum: 0.5, decay: 1e-3 };
const OPTIM: &str = "optim=sgd(rate=0.05, momentum=0.5, decay=0.001, schedule=cosine)";

/// The library's draws for the pieces of `cut`.
fn draws(cut: &Cut, seed: u64) -> impl Fn(usize, u64, usize) -> f64 {
    let coded: Vec<_> = cut.pieces().into_iter().filter(|p| !p.dense).collect();
    move |worker, round, entry| {
        let piece = coded.iter().position(|p| p.start <= entry && entry < p.end).unwrap();
        let stream = Stream::new(seed, Use::Encode, worker as u64, round).part(piece as u64);
        let j = (entry - coded[piece].start) as u64;
        let (even, odd) = stream.pair_at(j / 2);
        f64::from(if j.is_multiple_of(2) { even } else { odd })
    }
}

/// A reference: problem, rate, cut, rounds, draws.
type Reference<'a> = &'a dyn Fn(&dyn Problem, Rate, &Cut, usize, Uniform) -> Vec<Vec<f64>>;

/// Compares a row with its reference on one tensor, and on three tensors cut into `bucket`s, one of them left as it is.
fn quantized(name: &str, compress: &str, bucket: usize, reference: Reference, random: bool) {
    let rate = cosine(0.05, 0, ROUNDS);
    let whole = Cut { tensors: vec![144], bucket: usize::MAX, dense_below: 0 };
    let cut = Cut { tensors: vec![70, 10, 64], bucket, dense_below: 64 };
    for problem in problems(144) {
        for (cut, sets) in [(&whole, vec![OPTIM]), (&cut, vec![OPTIM, compress])] {
            let task = Posed { tensors: cut.tensors.clone(), ..Posed::whole(problem.clone()) };
            let found = library(name, &sets, &task, ROUNDS, ROUNDS);
            let oracle = |rate: Rate, seed| reference(&*problem, rate, cut, ROUNDS as usize, &draws(cut, seed));
            let mut controls = vec![oracle(&|t| 1.01 * rate(t), SEED)];
            controls.extend(random.then(|| oracle(&rate, SEED + 1)));
            compare(name, &models(&found), &oracle(&rate, SEED), &controls);
        }
    }
}

#[test]
fn qsgd_rounds_at_random_between_even_levels() {
    let of = |scale, levels| {
        move |problem: &dyn Problem, rate: Rate, cut: &Cut, rounds: usize, uniform: Uniform| {
            let settings = qsgd::Settings { rate, inner: INNER, levels, scale, cut: cut.clone() };
            qsgd::trajectory(problem, &settings, rounds, uniform)
        }
    };
    quantized("qsgd", "compress=qsgd(scope=bucket(32))", 32, &of(Scale::Largest, 7), true);
}

#[test]
fn qsgd_by_the_euclidean_norm() {
    let cut = Cut { tensors: vec![70, 10, 64], bucket: 32, dense_below: 64 };
    let rate = cosine(0.05, 0, ROUNDS);
    for problem in problems(144) {
        let oracle = |levels| {
            let settings =
                qsgd::Settings { rate: &rate, inner: INNER, levels, scale: Scale::Euclidean, cut: cut.clone() };
            qsgd::trajectory(&*problem, &settings, ROUNDS as usize, &draws(&cut, SEED))
        };
        let task = Posed { tensors: cut.tensors.clone(), ..Posed::whole(problem.clone()) };
        let sets = [OPTIM, "compress=qsgd(5, norm=l2, scope=bucket(32))", "exchange=star"];
        let found = library("qsgd", &sets, &task, ROUNDS, ROUNDS);
        compare("qsgd, Euclidean", &models(&found), &oracle(5), &[oracle(6)]);
    }
}

#[test]
fn terngrad_rounds_every_tensor_to_three_values() {
    let reference = |problem: &dyn Problem, rate: Rate, cut: &Cut, rounds: usize, uniform: Uniform| {
        let settings = terngrad::Settings { rate, inner: INNER, cut: cut.clone() };
        terngrad::trajectory(problem, &settings, rounds, uniform)
    };
    quantized("terngrad", "compress=terngrad(scope=tensor)", usize::MAX, &reference, true);
}

#[test]
fn orq_rounds_at_random_between_the_best_levels() {
    for levels in [3, 5, 9] {
        let reference = move |problem: &dyn Problem, rate: Rate, cut: &Cut, rounds: usize, uniform: Uniform| {
            // The row itself has nine.
            let levels = if cut.tensors.len() == 1 { 9 } else { levels };
            let settings = orq::Settings { rate, inner: INNER, levels, cut: cut.clone() };
            orq::trajectory(problem, &settings, rounds, uniform)
        };
        quantized("orq", &format!("compress=orq({levels}, scope=bucket(32))"), 32, &reference, true);
    }
}

#[test]
fn bingrad_b_sends_the_means_of_two_sides() {
    let reference = |problem: &dyn Problem, rate: Rate, cut: &Cut, rounds: usize, _: Uniform| {
        let settings = bingrad_b::Settings { rate, inner: INNER, cut: cut.clone() };
        bingrad_b::trajectory(problem, &settings, rounds)
    };
    quantized("bingrad-b", "compress=bingrad(b, scope=bucket(32))", 32, &reference, false);
}

#[test]
fn bingrad_pb_is_random_inside_its_levels() {
    let reference = |problem: &dyn Problem, rate: Rate, cut: &Cut, rounds: usize, uniform: Uniform| {
        let settings = bingrad_pb::Settings { rate, inner: INNER, cut: cut.clone() };
        bingrad_pb::trajectory(problem, &settings, rounds, uniform)
    };
    quantized("bingrad-pb", "compress=bingrad(pb, scope=bucket(32))", 32, &reference, true);
}
