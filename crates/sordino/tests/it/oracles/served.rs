//! Rows whose workers come to a server at their own pace, in a world of very unequal ones. The order in which they came
//! is told to the references, nothing else: what they make of it must be the library's models, delays and ages.

use std::sync::Arc;

use sordino::recipe::Recipe;
use sordino::testing::{Served, ServedRun, Trial};

use super::{SEED, compare, cosine};
use crate::oracle::{
    arrivals::Run,
    async_sgd, delay_adaptive_sgd, fedbuff,
    inner::Inner,
    picky_sgd,
    problem::{Logistic, Noise, Problem, Quadratics, Rate},
};
use crate::worlds::{Formula, Posed, Shared, row, wide};

const WORKERS: usize = 5;

/// The last worker is thirteen times slower than others are, and these are unequal.
const WORLD: &str = "fabric=sim(spread=0.8, flutter=0.5, loss=0.05, slow=1, factor=13)";

/// Data of so many workers or clients.
fn shares(of: usize) -> [Shared; 2] {
    [Arc::new(Quadratics::scattered(of, 24, Noise::Normal(0.2))), Arc::new(Logistic::waves(of, 12, 24, 1e-2, Some(3)))]
}

fn serve(recipe: &Recipe, problem: &Shared, steps: u64, how: &Served) -> ServedRun {
    Trial::new(recipe, &Posed::whole(problem.clone()), WORKERS, SEED, steps).served(how).unwrap()
}

fn models(run: &ServedRun) -> Vec<Vec<f64>> {
    run.models.iter().map(|m| wide(m)).collect()
}

/// The run of a row that moves with every word, with the numbers of the words and of who is still at work, which must be
/// the reference's.
fn one_by_one(name: &str, sets: &[&str], problem: &Shared, steps: u64) -> ServedRun {
    let recipe = row(name, &[sets, &[WORLD]].concat());
    let found = serve(&recipe, problem, steps, &Served::default());
    assert_eq!(found.order.len() as u64, steps * WORKERS as u64);
    let words: Vec<_> = found.updates.iter().flat_map(|u| &u.words).collect();
    assert_eq!(words.iter().map(|w| w.worker).collect::<Vec<_>>(), found.order);
    assert!(words.iter().any(|w| w.delay > 8 * WORKERS as u64), "{name}: nobody is late");
    found
}

fn same_delays(name: &str, found: &ServedRun, reference: &Run) {
    let delays: Vec<u64> = found.updates.iter().flat_map(|u| &u.words).map(|w| w.delay).collect();
    assert_eq!(delays, reference.delays[..delays.len()], "{name}: delays");
    // Who came last has not been sent back to work.
    let mut ages = reference.ages.clone();
    ages.remove(found.order[found.order.len() - 1]);
    assert_eq!(found.ages, ages, "{name}: ages of what is at work");
}

/// The rate of the server's step t where the run is annealed over the steps of every worker.
fn annealed(peak: f64, steps: u64) -> impl Fn(u64) -> f64 {
    let rate = cosine(peak, 0, steps);
    move |t| rate(t / WORKERS as u64)
}

/// The control in which every gradient is taken where the model is when it comes.
fn as_if_fresh(problem: &dyn Problem, rate: Rate, order: &[usize]) -> Vec<Vec<f64>> {
    let (mut x, mut jobs) = (problem.start(), [0; WORKERS]);
    let mut out = vec![x.clone()];
    for (t, &k) in order.iter().enumerate() {
        let g = problem.gradient(k, jobs[k], &x);
        (0..x.len()).for_each(|j| x[j] -= rate(t as u64) * g[j]);
        jobs[k] += 1;
        out.push(x.clone());
    }
    out
}

/// The order in which each came one place too early.
fn turned(order: &[usize]) -> Vec<usize> {
    order.iter().map(|k| (k + 1) % WORKERS).collect()
}

#[test]
fn every_gradient_moves_the_model_as_it_comes() {
    for problem in shares(WORKERS) {
        let found = one_by_one("async-sgd", &["optim=sgd(rate=0.03, momentum=0, schedule=cosine)"], &problem, 40);
        let rate = annealed(0.03, 40);
        let oracle = |rate: Rate, order: &[usize]| async_sgd::run(&*problem, &async_sgd::Settings { rate }, order);
        let reference = oracle(&rate, &found.order);
        let controls = [
            as_if_fresh(&*problem, &rate, &found.order),
            oracle(&rate, &turned(&found.order)).models,
            oracle(&|_| 0.03, &found.order).models,
        ];
        compare("async-sgd", &models(&found), &reference.models, &controls);
        same_delays("async-sgd", &found, &reference);
    }
}

#[test]
fn gradients_later_than_there_are_workers_count_less() {
    for problem in shares(WORKERS) {
        let sets = ["optim=sgd(rate=0.05, momentum=0, schedule=cosine)"];
        let found = one_by_one("delay-adaptive-sgd", &sets, &problem, 40);
        let rate = annealed(0.05, 40);
        let settings = delay_adaptive_sgd::Settings { rate: &rate };
        let reference = delay_adaptive_sgd::run(&*problem, &settings, &found.order);
        let beyond = |threshold: u64| {
            let delays = reference.delays.clone();
            let rate = move |t: u64| match delays[t as usize] {
                delay if delay > threshold => annealed(0.05, 40)(t) / delay as f64,
                _ => annealed(0.05, 40)(t),
            };
            async_sgd::run(&*problem, &async_sgd::Settings { rate: &rate }, &found.order).models
        };
        let controls = [
            beyond(u64::MAX),
            beyond(WORKERS as u64 + 1),
            beyond(WORKERS as u64 - 1),
            as_if_fresh(&*problem, &rate, &found.order),
        ];
        compare("delay-adaptive-sgd", &models(&found), &reference.models, &controls);
        assert_eq!(beyond(WORKERS as u64), reference.models, "the threshold is the number of workers");
        same_delays("delay-adaptive-sgd", &found, &reference);
    }
}

#[test]
fn gradients_from_too_far_away_are_left_out_and_count_as_steps() {
    for (problem, radius) in shares(WORKERS).iter().zip([0.3, 0.05]) {
        let optim = "optim=sgd(rate=0.05, momentum=0, schedule=cosine)";
        let found = one_by_one("picky-sgd", &[optim, &format!("staleness.threshold={radius}")], problem, 40);
        let rate = annealed(0.05, 40);
        let oracle = |radius| picky_sgd::run(&**problem, &picky_sgd::Settings { rate: &rate, radius }, &found.order);
        let reference = oracle(radius);
        let taken: Vec<bool> = found.updates.iter().map(|u| u.words[0].weight > 0.0).collect();
        let moved: Vec<bool> = reference.models.windows(2).map(|w| w[0] != w[1]).collect();
        assert_eq!(taken, moved);
        let late = found.updates.iter().filter(|u| u.words[0].weight > 0.0 && u.words[0].delay > 0).count();
        let refused = taken.iter().filter(|taken| !**taken).count();
        assert!(refused > 10 && late > 10, "{refused} of {} left out, {late} late ones taken", taken.len());
        let controls = [oracle(0.0).models, oracle(f64::INFINITY).models, oracle(0.9 * radius).models];
        compare("picky-sgd", &models(&found), &reference.models, &controls);
        same_delays("picky-sgd", &found, &reference);
    }
}

/// A run of `fedbuff` that is broken off while everybody still makes all the steps of a piece of work.
fn buffered(sets: &[&str], problem: &Shared, how: &Served) -> ServedRun {
    let until = Some(40);
    serve(&row("fedbuff", &[sets, &[WORLD]].concat()), problem, 10_000, &Served { until, ..how.clone() })
}

/// The models of a reference after every update.
fn full(run: &Run, size: usize) -> Vec<Vec<f64>> {
    run.models.iter().step_by(size).cloned().collect()
}

#[test]
fn a_full_buffer_of_displacements_moves_the_model_and_the_old_ones_count_less() {
    for problem in shares(WORKERS) {
        for (optim, inner, rate) in [
            ("optim=sgd(rate=0.05, momentum=0)", Inner::PLAIN, 0.05),
            ("optim=sgd(rate=0.03, momentum=0.9, decay=0.001)", Inner::Sgd { momentum: 0.9, decay: 1e-3 }, 0.03),
            ("optim=adamw(rate=0.01)", Inner::ADAMW, 0.01),
        ] {
            for (size, outer_rate) in [(3, 1.0), (7, 0.7), (1, 1.0)] {
                let participation = format!("participation=buffered({size}, clients=0)");
                let outer = format!("outer=momentum(0, rate={outer_rate})");
                let sets = [optim, &participation, "schedule.every=5", &outer];
                let found = buffered(&sets, &problem, &Served::default());
                let oracle = |inner, steps, size, outer_rate| {
                    let settings = fedbuff::Settings { rate: &|_| rate, inner, steps, size, outer_rate };
                    fedbuff::run(&*problem, &settings, &found.order)
                };
                let reference = oracle(inner, 5, size, outer_rate);
                let again = Served { replay: Some(found.order.clone()), ..Served::default() };
                let with = |set: &str| models(&buffered(&[&sets[..], &[set]].concat(), &problem, &again));
                let mut controls = vec![
                    with("staleness=any"),
                    full(&oracle(inner, 4, size, outer_rate), size),
                    full(&oracle(inner, 5, size, 1.01 * outer_rate), size),
                ];
                if size > 1 {
                    // A sum in the place of the mean; a mean over the weights is closer, and still elsewhere.
                    controls.push(full(&oracle(inner, 5, size, size as f64 * outer_rate), size));
                }
                if !matches!(inner, Inner::Sgd { momentum: 0.0, .. }) {
                    controls.push(with("local.state=keep"));
                }
                compare("fedbuff", &models(&found), &full(&reference, size), &controls);
                same_delays("fedbuff", &found, &reference);
                assert!(found.updates.iter().all(|u| u.words.len() == size && u.words.iter().all(|w| w.steps == 5)));
            }
        }
    }
}

/// The clients' problem as the workers see it who play them: the j-th piece of work of worker k is `jobs[k][j]`, a
/// client and the number of that client's pieces of work before.
fn played(problem: &Shared, jobs: Vec<Vec<(usize, u64)>>, every: u64) -> Formula {
    let (start, of) = (problem.start(), problem.clone());
    let gradient = move |k: usize, t: u64, x: &[f64]| {
        let (client, before) = jobs[k][(t / every) as usize];
        of.gradient(client, before * every + t % every, x)
    };
    Formula { workers: WORKERS, start, gradient: Box::new(gradient), loss: |_| 0.0 }
}

#[test]
fn clients_that_workers_play_remember_nothing_and_nobody_is_played_twice_at_a_time() {
    for problem in shares(9) {
        for (optim, inner, rate) in
            [("optim=sgd(rate=0.05, momentum=0)", Inner::PLAIN, 0.05), ("optim=adamw(rate=0.01)", Inner::ADAMW, 0.01)]
        {
            for state in ["local.state=reset", "local.state=keep"] {
                let sets = [optim, state, "schedule.every=5", "participation=buffered(4, clients=9)"];
                let found = buffered(&sets, &problem, &Served::default());
                let (mut jobs, mut before) = (vec![Vec::new(); WORKERS], [0; 9]);
                for word in found.updates.iter().flat_map(|u| &u.words) {
                    let client = word.client as usize;
                    jobs[word.worker].push((client, before[client]));
                    before[client] += 1;
                }
                assert!(before.iter().all(|jobs| *jobs > 3), "{before:?}");
                let oracle = |jobs: Vec<Vec<(usize, u64)>>| {
                    let settings = fedbuff::Settings { rate: &|_| rate, inner, steps: 5, size: 4, outer_rate: 1.0 };
                    fedbuff::run(&played(&problem, jobs, 5), &settings, &found.order)
                };
                let reference = oracle(jobs.clone());
                // The same clients, as if each piece of work, four steps, were their first one; and others.
                let first = |jobs: &Vec<(usize, u64)>| jobs.iter().map(|(client, _)| (*client, 0)).collect();
                let other = |jobs: &Vec<(usize, u64)>| jobs.iter().map(|(c, before)| ((c + 1) % 9, *before)).collect();
                let mut controls = vec![full(&oracle(jobs.iter().map(other).collect()), 4)];
                let at = problem.start();
                if problem.gradient(0, 0, &at) != problem.gradient(0, 4, &at) {
                    controls.push(full(&oracle(jobs.iter().map(first).collect()), 4));
                }
                compare("fedbuff", &models(&found), &full(&reference, 4), &controls);
                same_delays("fedbuff", &found, &reference);
                let mut at = [0; WORKERS];
                for worker in &found.order {
                    // Whose last piece of work has not come is not known to have one.
                    let mut now: Vec<_> = (0..WORKERS).filter_map(|k| jobs[k].get(at[k])).map(|(c, _)| *c).collect();
                    let players = now.len();
                    now.sort_unstable();
                    now.dedup();
                    assert_eq!(now.len(), players, "somebody is played twice");
                    at[*worker] += 1;
                }
            }
        }
    }
}
