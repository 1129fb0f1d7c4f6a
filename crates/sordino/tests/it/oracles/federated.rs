//! Federated rows: clients that are drawn, work for as long as their rows ask for, and come back after a while.

use std::ops::Range;
use std::sync::Arc;

use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};

use super::{ROUNDING, SEED, compare, cosine, farthest};
use crate::oracle::{
    clients::Clients,
    fedadam, fedavg, fedmom, fedprox, fedyogi,
    inner::Inner,
    problem::{Logistic, Noise, Problem, Quadratics, Rate},
    scaffold,
};
use crate::worlds::{Posed, Shared, gap, row, wide};

/// Rows of the seven clients. In batches of four a pass takes 1, 3, 2, 2, 5, 1, 2 steps and a round counts for 2.
const SIZES: [usize; 7] = [3, 12, 5, 8, 20, 1, 7];
const PASSES: [u64; 7] = [1, 3, 2, 2, 5, 1, 2];
const RANKS: usize = 3;

/// Seven clients, far more than ranks.
pub fn seven(dim: usize) -> Vec<Shared> {
    vec![
        Arc::new(Quadratics::scattered(7, dim, Noise::Normal(0.2))),
        Arc::new(Logistic::waves(7, 12, dim, 1e-2, Some(3))),
    ]
}

/// The problem as a task with rows of unequal number.
pub fn unequal(problem: &Shared) -> Posed {
    Posed { sizes: SIZES.to_vec(), ..Posed::whole(problem.clone()) }
}

/// The run of a row on three ranks, and its recipe.
pub fn played(name: &str, sets: &[&str], task: &Posed, steps: u64) -> (Vec<Rank>, Recipe) {
    let recipe = row(name, sets);
    (Trial::new(&recipe, task, RANKS, SEED, steps).run().unwrap(), recipe)
}

/// Whom the library asks in a round.
pub fn asked(recipe: &Recipe, seed: u64) -> impl Fn(u64) -> Vec<usize> {
    let participation = recipe.participation().unwrap();
    move |round| {
        let mut asked = Vec::new();
        participation.asked(seed, round, RANKS, &mut asked);
        asked.into_iter().map(|client| client as usize).collect()
    }
}

/// The models of the last rank.
pub fn models(ranks: &[Rank]) -> Vec<Vec<f64>> {
    ranks[RANKS - 1].models().iter().map(|m| wide(m)).collect()
}

/// The numbers of a client's steps, where a round makes `passes` passes over its rows.
fn epochs(passes: u64) -> impl Fn(u64, usize) -> Range<u64> {
    move |round, k| {
        let own = passes * PASSES[k];
        round * own..(round + 1) * own
    }
}

/// The same number of steps for every client.
pub fn same(every: u64) -> impl Fn(u64, usize) -> Range<u64> {
    move |round, _| round * every..(round + 1) * every
}

const PEAK: Rate = &|_| 0.05;

fn sizes() -> Vec<f64> {
    SIZES.iter().map(|n| *n as f64).collect()
}

#[test]
fn federated_averaging_weighs_by_rows_and_lets_clients_work_for_as_long_as_they_have_rows() {
    let settings = "participation=sampled(3, clients=7)";
    for problem in seven(24) {
        for (optim, inner) in [
            ("optim=sgd(rate=0.05, momentum=0)", Inner::PLAIN),
            ("optim=sgd(rate=0.05, momentum=0.9, decay=0.001)", Inner::Sgd { momentum: 0.9, decay: 1e-3 }),
        ] {
            for passes in [1, 2] {
                let schedule = format!("schedule=epochs({passes})");
                let sets = [optim, settings, &schedule, "local.batch=4"];
                let (found, recipe) = played("fedavg", &sets, &unequal(&problem), 80 * passes);
                let oracle = |sizes: Vec<f64>, seed, steps: &dyn Fn(u64, usize) -> Range<u64>| {
                    let sample = asked(&recipe, seed);
                    let clients = Clients { sizes, sample: &sample, steps };
                    fedavg::trajectory(&*problem, &fedavg::Settings { rate: PEAK, inner, clients }, 40)
                };
                let controls = [
                    oracle(vec![1.0; 7], SEED, &epochs(passes)),
                    oracle(sizes(), SEED + 1, &epochs(passes)),
                    oracle(sizes(), SEED, &same(2 * passes)),
                ];
                compare("fedavg", &models(&found), &oracle(sizes(), SEED, &epochs(passes)), &controls);
            }
        }
    }
}

#[test]
fn the_rate_is_annealed_by_the_runs_own_steps() {
    for problem in seven(24) {
        let optim = "optim=sgd(rate=0.05, momentum=0, schedule=cosine)";
        let sets = [optim, "schedule=constant(4)", "participation=sampled(3, clients=7)"];
        let (found, recipe) = played("fedavg", &sets, &unequal(&problem), 160);
        let sample = asked(&recipe, SEED);
        let oracle = |rate: Rate| {
            let clients = Clients { sizes: sizes(), sample: &sample, steps: &same(4) };
            fedavg::trajectory(&*problem, &fedavg::Settings { rate, inner: Inner::PLAIN, clients }, 40)
        };
        let rate = cosine(0.05, 0, 160);
        compare("fedavg, annealed", &models(&found), &oracle(&rate), &[oracle(PEAK)]);
    }
}

#[test]
fn federated_momentum_over_those_that_are_drawn_weighs_by_rows() {
    for problem in seven(24) {
        for (participation, ranks) in [("participation=sampled(3, clients=7)", 3), ("participation=everyone", 7)] {
            let sets = ["optim.rate=0.05", "schedule=constant(8)", participation];
            let recipe = row("fedmom", &sets);
            let found = Trial::new(&recipe, &unequal(&problem), ranks, SEED, 320).run().unwrap();
            let draws = recipe.participation().unwrap();
            let oracle = |sizes: Vec<f64>, beta, seed| {
                let sample = |round| {
                    let mut asked = Vec::new();
                    draws.asked(seed, round, ranks, &mut asked);
                    asked.into_iter().map(|client| client as usize).collect()
                };
                let settings = fedmom::Settings { rate: PEAK, every: 8, outer_rate: 1.0, beta, sizes, sample: &sample };
                fedmom::trajectory(&*problem, &settings, 40)
            };
            let mut controls = vec![oracle(vec![1.0; 7], 0.9, SEED), oracle(sizes(), 0.89, SEED)];
            if ranks == 3 {
                controls.push(oracle(sizes(), 0.9, SEED + 1));
            }
            compare("fedmom", &models(&found), &oracle(sizes(), 0.9, SEED), &controls);
        }
    }
}

#[test]
fn the_spring_of_fedprox_pulls_to_where_the_round_began() {
    for problem in seven(24) {
        let sets = ["optim.rate=0.05", "local.prox=0.3", "local.batch=4", "participation=sampled(3, clients=7)"];
        let (found, recipe) = played("fedprox", &sets, &unequal(&problem), 80);
        let sample = asked(&recipe, SEED);
        let oracle = |prox| {
            let clients = Clients { sizes: sizes(), sample: &sample, steps: &epochs(1) };
            let settings = fedprox::Settings { rate: PEAK, inner: Inner::PLAIN, prox, clients };
            fedprox::trajectory(&*problem, &settings, 40)
        };
        compare("fedprox", &models(&found), &oracle(0.3), &[oracle(0.29), oracle(0.0)]);
    }
}

#[test]
fn control_variates_are_those_of_the_paper_for_drawn_and_for_all_clients() {
    for problem in seven(24) {
        for count in [3, 7] {
            let participation = format!("participation=sampled({count}, clients=7)");
            let sets = ["optim.rate=0.05", "local.batch=4", &participation];
            let (found, recipe) = played("scaffold", &sets, &unequal(&problem), 80);
            let oracle = |seed, outer_rate, steps: &dyn Fn(u64, usize) -> Range<u64>| {
                let sample = asked(&recipe, seed);
                scaffold::run(&*problem, &scaffold::Settings { rate: PEAK, outer_rate, sample: &sample, steps }, 40)
            };
            let of = |held: &[scaffold::Held]| held.iter().map(|h| h.x.clone()).collect::<Vec<_>>();
            let held = oracle(SEED, 1.0, &epochs(1));
            let mut controls = vec![of(&oracle(SEED, 0.99, &epochs(1))), of(&oracle(SEED, 1.0, &same(2)))];
            if count == 3 {
                controls.push(of(&oracle(SEED + 1, 1.0, &epochs(1))));
            }
            compare("scaffold", &models(&found), &of(&held), &controls);
            variates(&found, &held, &*problem);
        }
    }
}

/// Whoever keeps a variate keeps the reference's.
fn variates(found: &[Rank], held: &[scaffold::Held], problem: &dyn Problem) {
    for (round, held) in held[1..].iter().enumerate() {
        let states: Vec<_> = found.iter().map(|rank| &rank.rounds[round].state.vectors).collect();
        assert!(states.iter().all(|s| gap(&wide(&s["local/common"]), &held.c) < ROUNDING), "round {round}");
        for k in 0..problem.workers() {
            let path = format!("clients/{k}/control");
            let kept: Vec<_> = states.iter().filter_map(|s| s.get(&path)).map(|c| wide(c)).collect();
            assert!(kept.len() <= 1, "client {k} is kept by one rank");
            let kept = kept.first().cloned().unwrap_or_else(|| vec![0.0; problem.dim()]);
            assert!(gap(&kept, &held.clients[k]) < ROUNDING, "round {round}, client {k}");
        }
    }
}

#[test]
fn a_round_that_asks_nobody_leaves_the_model_where_it_was() {
    for problem in seven(24) {
        let sets = ["optim.rate=0.05", "schedule=constant(4)", "participation=poisson(1, clients=7)"];
        let (found, recipe) = played("fedmom", &sets, &unequal(&problem), 240);
        let sample = asked(&recipe, SEED);
        assert!((0..60).any(|round| sample(round).is_empty()) && (0..60).any(|round| sample(round).len() > 1));
        let oracle = |beta| {
            let settings =
                fedmom::Settings { rate: PEAK, every: 4, outer_rate: 1.0, beta, sizes: sizes(), sample: &sample };
            fedmom::trajectory(&*problem, &settings, 60)
        };
        let found = models(&found);
        compare("fedmom, drawn each by itself", &found, &oracle(0.9), &[oracle(0.89)]);
        for round in (0..60).filter(|round| sample(*round).is_empty()) {
            assert_eq!(found[round as usize], found[round as usize + 1]);
        }
        assert!(farthest(&found[..1], &found[60..]) > 0.0);
    }
}

#[test]
fn adam_and_yogi_on_the_server_step_along_the_mean_displacement() {
    for problem in seven(24) {
        for name in ["fedadam", "fedyogi"] {
            let outer = format!("outer={name}(rate=0.02, beta1=0.8, beta2=0.97, tau=0.01)");
            let sets = ["optim.rate=0.05", "schedule=constant(4)", "participation=sampled(3, clients=7)", &outer];
            let (found, recipe) = played(name, &sets, &unequal(&problem), 160);
            let sample = asked(&recipe, SEED);
            let steps = same(4);
            let clients = || Clients { sizes: sizes(), sample: &sample, steps: &steps };
            let oracle = |yogi: bool, tau| {
                let (rate, inner, outer_rate, beta1, beta2) = (PEAK, Inner::PLAIN, 0.02, 0.8, 0.97);
                if yogi {
                    let clients = clients();
                    let settings = fedyogi::Settings { rate, inner, outer_rate, beta1, beta2, tau, clients };
                    return fedyogi::trajectory(&*problem, &settings, 40);
                }
                let settings = fedadam::Settings { rate, inner, outer_rate, beta1, beta2, tau, clients: clients() };
                fedadam::trajectory(&*problem, &settings, 40)
            };
            let yogi = name == "fedyogi";
            compare(name, &models(&found), &oracle(yogi, 0.01), &[oracle(!yogi, 0.01), oracle(yogi, 0.011)]);
        }
    }
}
