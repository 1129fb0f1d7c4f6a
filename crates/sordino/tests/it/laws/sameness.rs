//! The same on every rank, at every time, in every order of arrival.

use std::sync::{Arc, Mutex};

use sordino::base::flat;
use sordino::fabric::{Clock, Metered, Port, SimClock, SimPort, World};
use sordino::testing::Trial;
use sordino::workload::{Batch, Draw, Task};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, Restless, hashes, in_rounds, neutral, quadratic, row, tried};

#[test]
fn every_rank_holds_the_same_model_after_every_round_with_one_to_four_workers() {
    for (name, recipe) in rows_and_mixes() {
        for workers in 1..=4 {
            let ranks = run(&recipe, tried(&recipe), workers, 24);
            assert!(ranks.iter().all(|r| hashes(&r.models()) == hashes(&ranks[0].models())), "{name}, {workers}");
            assert!(flat::is_finite(ranks[0].last()) && ranks[0].last() != ranks[0].start, "{name}, {workers}");
            let told = |r: &sordino::testing::Rank| r.rounds.iter().map(|r| r.told.silence).collect::<Vec<_>>();
            assert!(ranks.iter().all(|r| told(r) == told(&ranks[0])));
            assert_eq!(told(&ranks[0]).iter().sum::<u64>(), 24, "{name}");
        }
    }
}

#[test]
fn the_same_recipe_and_seed_give_the_same_bits_again_and_another_seed_others() {
    for row in in_rounds() {
        let recipe = crate::worlds::row(row.name, &[]);
        let of = |seed| {
            let ranks = Trial::new(&recipe, tried(&recipe), 3, seed, 12).run().unwrap();
            ranks.iter().map(|r| hashes(&r.models())).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1), "{}", row.name);
        assert_ne!(of(1), of(2), "{}", row.name);
    }
}

#[test]
fn the_order_of_arrivals_does_not_matter() {
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 4, 5, 16);
        let calm = trial.run().unwrap();
        for mood in 0..2 {
            let restless = trial.over(|port| Box::new(Restless::new(port, mood))).unwrap();
            for (a, b) in calm.iter().zip(&restless) {
                assert_eq!(hashes(&a.models()), hashes(&b.models()), "{name}");
                assert!(a.rounds.iter().zip(&b.rounds).all(|(a, b)| a.state == b.state), "{name}");
            }
        }
    }
}

#[test]
fn a_simulated_world_gives_the_bits_of_threads_and_the_same_times_in_every_order_of_arrival() {
    let world = World { rate: 1e5, loss: 0.05, ..World::default() };
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 4, 5, 8);
        let simulated = |mood| {
            let clocks = Mutex::new(Vec::new());
            let ranks = trial.over(|port| {
                let clock = Arc::new(SimClock::new(&world, port.size()));
                clocks.lock().unwrap().push(clock.clone());
                Box::new(Metered::new(SimPort::new(Restless::new(port, mood), clock.clone()), clock))
            });
            let times = clocks.into_inner().unwrap().iter().map(|clock| clock.now()).collect::<Vec<_>>();
            (ranks.unwrap(), times)
        };
        let threads = trial.run().unwrap();
        let (ranks, times) = simulated(0);
        for (a, b) in threads.iter().zip(&ranks) {
            assert_eq!(hashes(&a.models()), hashes(&b.models()), "{name}");
            assert_eq!(a.ledger, b.ledger, "{name}: stamps are not counted");
        }
        assert_eq!(simulated(1).1, times, "{name}");
        // What clients play costs their own time, which is foretold and not measured here.
        let federated = recipe.participation().unwrap().federated();
        assert!(federated || times.iter().all(|now| *now > world.latency), "{name}: {times:?}");
    }
}

#[test]
fn what_buffers_do_at_a_meeting_is_what_the_rule_says() {
    let of = |rule: &str| {
        let recipe = neutral(&["schedule.every=4", &format!("buffers={rule}")]);
        let ranks = run(&recipe, &Buffered, 3, 8);
        ranks.iter().map(|r| r.rounds[0].buffers.clone()).collect::<Vec<_>>()
    };
    let (local, average, root) = (of("local"), of("average"), of("root"));
    assert!(local[0] != local[1] && local[1] != local[2]);
    assert_eq!(local, of("reestimate"));
    assert!(root.iter().all(|b| *b == local[0]));
    for j in 0..2 {
        let mean = (local[0][j] + local[1][j] + local[2][j]) / 3.0;
        assert!(average.iter().all(|b| b[j] == mean));
    }
}

#[test]
fn the_evaluated_model_is_the_same_on_every_rank_and_reestimates_what_the_rule_says() {
    for rule in ["average", "local", "reestimate(4)", "root"] {
        let recipe = neutral(&["schedule.every=4", &format!("buffers={rule}")]);
        let trial = Trial::new(&recipe, &Buffered, 3, 5, 8);
        let evaluated = trial
            .with(
                |port| Box::new(port),
                |mut session, mut workload| {
                    while !session.done() {
                        session.round(&mut *workload, 0)?;
                    }
                    let before = session.save(&*workload)?;
                    let found = session.evaluated(&mut *workload)?;
                    assert_eq!(before, session.save(&*workload)?, "an evaluation changes nothing");
                    Ok(found)
                },
            )
            .unwrap();
        assert!(evaluated.iter().all(|e| *e == evaluated[0]), "{rule}");
        if rule.starts_with("reestimate") {
            // What four fresh batches of each rank say at the agreed model, nothing of the old buffers left.
            let statistics = |rank: usize, at: usize| {
                let mut workload = Buffered.workload(3, 5).unwrap();
                let mut gradient = vec![0.0; evaluated[0].parameters.len()];
                let mut look = |i: u64| {
                    let draw = Draw { seed: 5, client: rank as u64, step: (1 << 40) + i, batch: Batch::Rows(1) };
                    workload.gradient(&evaluated[0].parameters, &mut [0.0; 2], &draw, &mut gradient).unwrap();
                    gradient[at]
                };
                (0..4u64).map(&mut look).sum::<f32>() / 4.0
            };
            for (buffer, at) in evaluated[0].buffers.iter().zip([1, 2]) {
                let mean = (0..3).map(|rank| statistics(rank, at)).sum::<f32>() / 3.0;
                assert!((buffer - mean).abs() < 1e-4 * (1.0 + mean.abs()), "{buffer}, the batches say {mean}");
            }
        }
    }
}

#[test]
fn averaged_momentum_is_the_mean_and_a_reset_one_is_zero() {
    let moments = |state: &str| {
        let sets = ["optim=sgd(momentum=0.9)", "schedule.every=4", &format!("local.state={state}")];
        let ranks = run(&neutral(&sets), &quadratic(), 3, 4);
        ranks.iter().map(|r| r.rounds[0].state.vectors["optim/0/momentum"].clone()).collect::<Vec<_>>()
    };
    let (keep, average, reset) = (moments("keep"), moments("average"), moments("reset"));
    assert!(keep[0] != keep[1]);
    assert!(reset.iter().flatten().all(|m| *m == 0.0));
    for j in 0..keep[0].len() {
        let mean = (keep[0][j] + keep[1][j] + keep[2][j]) / 3.0;
        assert!(average.iter().all(|m| m[j] == mean));
    }
}

#[test]
fn the_step_by_step_handle_is_the_whole_round() {
    let recipe = row("saef", &["optim.momentum=0.9"]);
    let trial = Trial::new(&recipe, &Buffered, 3, 5, 12);
    let whole = trial
        .with(
            |port| Box::new(port),
            |mut session, mut workload| {
                while !session.done() {
                    session.round(&mut *workload, 0)?;
                }
                session.save(&*workload)
            },
        )
        .unwrap();
    for (a, b) in whole.iter().zip(trial.run().unwrap()) {
        assert_eq!(*a, b.rounds[11].state);
    }
}
