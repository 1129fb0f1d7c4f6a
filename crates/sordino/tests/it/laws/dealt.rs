//! Stop, save, and go on with another number of ranks: nothing that is owed is lost.

use sordino::Result;
use sordino::base::{Former, Kind, State, flat};
use sordino::fabric::together;
use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};
use sordino::workload::{Batch, Draw, Quadratic, Split, Task};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, CHAIN, gap, hashes, neutral, quadratic, ridge, row, sparse, tried, wide};

/// What all ranks remember after a round.
fn states(ranks: &[Rank], round: usize) -> Vec<State> {
    ranks.iter().map(|rank| rank.rounds[round].state.clone()).collect()
}

/// What the ranks of a run remember once they have taken what others did.
fn taken(trial: &Trial, states: &[State]) -> Result<Vec<State>> {
    trial.with(
        |port| Box::new(port),
        |mut session, mut workload| {
            session.load_from(states, &mut *workload)?;
            session.save(&*workload)
        },
    )
}

fn refusal(recipe: &Recipe, task: &dyn Task, ranks: usize, states: &[State]) -> String {
    let refused = taken(&Trial::new(recipe, task, ranks, 5, 40), states).expect_err(&recipe.method);
    assert_eq!(refused.kind(), Kind::Request, "{refused}");
    refused.to_string()
}

/// What is refused, and what it is called then.
fn undealt(name: &str, recipe: &Recipe) -> Option<&'static str> {
    let local = recipe.choice("local").unwrap().to_string();
    match () {
        () if local.contains("svrg") => Some("`local.estimate=svrg`"),
        () if local.contains("saga") => Some("`local.estimate=saga`"),
        () if name == "dp-clip21" => Some("`privacy.unit=client`"),
        () => None,
    }
}

fn cut(recipe: &Recipe) -> bool {
    recipe.choice("placement").unwrap().name != "replicate"
}

fn federated(recipe: &Recipe) -> bool {
    recipe.participation().unwrap().federated()
}

/// The mean of what ranks remember under a name, by weights, or nothing where nobody does.
fn mean(states: &[State], name: &str, weights: &[f64]) -> Option<Vec<f64>> {
    let len = states.iter().find_map(|state| state.vectors.get(name))?.len();
    let (mut mean, total) = (vec![0.0; len], weights.iter().sum::<f64>());
    for (state, weight) in states.iter().zip(weights) {
        if let Some(vector) = state.vectors.get(name) {
            mean.iter_mut().zip(vector).for_each(|(m, x)| *m += weight * f64::from(*x) / total);
        }
    }
    Some(mean)
}

/// Names under which ranks remember something of their own.
fn own(states: &[State]) -> Vec<&str> {
    let names = states.iter().flat_map(|state| state.vectors.keys().map(String::as_str));
    let mut names: Vec<&str> = names.filter(|n| n.starts_with("feedback/") || n.starts_with("optim/")).collect();
    names.extend(["buffers", "local/mine", "ahead/offer"]);
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn as_many_ranks_as_before_take_their_own() {
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 4, 5, 24);
        let ranks = trial.run().unwrap();
        let saved = states(&ranks, ranks[0].rounds.len() / 2);
        let alone = trial.with(
            |port| Box::new(port),
            |mut session, mut workload| {
                let rank = session.worker().rank();
                session.load(&saved[rank], &mut *workload)?;
                session.save(&*workload)
            },
        );
        if !cut(&recipe) {
            assert_eq!(taken(&trial, &saved).unwrap(), alone.unwrap(), "{name}");
        }
        assert_eq!(taken(&trial, &saved).unwrap(), saved, "{name}");
    }
}

#[test]
fn the_model_stays_and_is_owed_what_it_was_owed() {
    let mut dealt = 0;
    // Buffers that nobody shared are meant plainly, as an evaluation means them.
    let local = ("buffers".to_owned(), neutral(&["aggregate=weighted", "buffers=local", "exchange=gather"]));
    for (name, recipe) in rows_and_mixes().into_iter().chain([local]).filter(|(_, recipe)| !cut(recipe)) {
        let task = tried(&recipe);
        let ranks = run(&recipe, task, 4, 24);
        let saved = states(&ranks, ranks[0].rounds.len() / 2);
        if let Some(what) = undealt(&name, &recipe) {
            let text = refusal(&recipe, task, 3, &saved);
            assert!(text.contains(what) && text.contains("resume with as many"), "{name}: {text}");
            continue;
        }
        dealt += 1;
        let aggregator = recipe.choice("aggregate").unwrap();
        let weights = match saved[0].vectors.get("weights") {
            Some(weights) => wide(weights),
            None => vec![1.0; 4],
        };
        assert_eq!(aggregator.name == "weighted" && !federated(&recipe), weights.iter().any(|w| *w != 1.0), "{name}");
        for others in [1, 3, 6] {
            let trial = Trial::new(&recipe, task, others, 5, 24);
            let now = taken(&trial, &saved).unwrap_or_else(|e| panic!("{name}: {e}"));
            for state in &now {
                assert_eq!(state.vectors["model"], saved[0].vectors["model"], "{name}");
                assert_eq!(state.numbers["position"], saved[0].numbers["position"], "{name}");
            }
            // Everything but the dual variables, the server's residual and who plays whom is alike on all ranks.
            let common = |state: &State| {
                let mut state = state.clone();
                state
                    .vectors
                    .retain(|n, _| n != "local/duals" && n != "exchange/residual" && !n.starts_with("clients/"));
                state.numbers.retain(|n, _| n != "local/rows" && !n.starts_with("clients/"));
                state
            };
            assert!(now.iter().all(|state| common(state) == common(&now[0])), "{name}, {others} ranks");
            assert!(now[1..].iter().all(|state| !state.vectors.contains_key("exchange/residual")), "{name}");
            assert_eq!(now[0].vectors.get("exchange/residual"), saved[0].vectors.get("exchange/residual"), "{name}");
            if federated(&recipe) {
                continue;
            }
            let gain = |voices: usize| if aggregator.name == "sum" { voices as f64 } else { 1.0 };
            for what in own(&saved) {
                let by = if what == "buffers" { &vec![1.0; 4] } else { &weights };
                let (Some(before), Some(after)) = (mean(&saved, what, by), mean(&now, what, &vec![1.0; others])) else {
                    assert!(!saved.iter().any(|state| state.vectors.contains_key(what)), "{name}: {what} is gone");
                    continue;
                };
                // What is added up is owed as often as there are ranks.
                let times = if ["feedback/residual", "feedback/shift", "ahead/offer"].contains(&what) {
                    gain(4) / gain(others)
                } else {
                    1.0
                };
                let before: Vec<f64> = before.iter().map(|v| v * times).collect();
                assert!(gap(&before, &after) < 1e-7, "{name}: {what} {}", gap(&before, &after));
            }
        }
    }
    assert!(dealt > 50, "{dealt}");
}

/// The mean loss of the mini-batches of many steps far beyond the run.
fn loss(task: &dyn Task, clients: usize, x: &[f32], buffers: &[f32]) -> f64 {
    let mut workload = task.workload(clients, 5).unwrap();
    if let Some(found) = workload.evaluate(x, buffers, Split::Train).unwrap() {
        return found.loss;
    }
    let draws = (0..clients as u64).map(|client| Draw { seed: 5, client, step: 1 << 40, batch: Batch::Rows(8) });
    draws.map(|draw| workload.loss(x, buffers, &draw).unwrap()).sum::<f64>() / clients as f64
}

#[test]
fn it_goes_on_training() {
    for (name, recipe) in rows_and_mixes() {
        // Noise that hides everybody hides how training goes as well.
        if undealt(&name, &recipe).is_some() || cut(&recipe) || recipe.choice("privacy").unwrap().name != "none" {
            continue;
        }
        let task = tried(&recipe);
        let ranks = run(&recipe, task, 4, 120);
        let saved = states(&ranks, 0);
        for others in [3, 6] {
            let trial = Trial::new(&recipe, task, others, 5, 120);
            let rest = trial.resume(&saved).unwrap_or_else(|e| panic!("{name}: {e}"));
            let clients = recipe.participation().unwrap().clients(others);
            let loss = |x: &[f32]| loss(task, clients, x, &rest[0].rounds[0].buffers);
            let (begun, ended) = (loss(&saved[0].vectors["model"]), loss(rest[0].last()));
            assert!(ended < begun, "{name}, {others} ranks: {begun} {ended}");
            assert!(rest.iter().all(|rank| rank.last() == rest[0].last()), "{name}");
            let steps = rest[0].rounds.last().unwrap().told.steps;
            assert_eq!(steps, ranks[0].rounds.last().unwrap().told.steps, "{name}");
        }
    }
}

#[test]
fn federated_runs_go_on_as_if_nothing_had_happened() {
    let remembering = neutral(&[
        "participation=sampled(3, clients=8)",
        "exchange=star",
        "compress=topk(0.2)",
        "feedback=ef21",
        "payload=gradient",
    ]);
    let mut seen = 0;
    for (name, recipe) in rows_and_mixes().into_iter().chain([("remembering".to_owned(), remembering)]) {
        if !federated(&recipe) {
            continue;
        }
        seen += 1;
        let task = tried(&recipe);
        let whole = run(&recipe, task, 4, 40);
        let at = whole[0].rounds.len() / 2;
        for others in [1, 3, 6] {
            let rest = Trial::new(&recipe, task, others, 5, 40).resume(&states(&whole, at - 1)).unwrap();
            assert_eq!(hashes(&rest[0].models()), hashes(&whole[0].models()[at..]), "{name}, {others} ranks");
            let clients = |ranks: &[Rank]| {
                let last = |rank: &Rank| rank.rounds.last().unwrap().state.part("clients").families();
                ranks.iter().flat_map(last).collect::<std::collections::BTreeMap<_, _>>()
            };
            assert_eq!(clients(&rest), clients(&whole), "{name}, {others} ranks");
            // The control: clients that have forgotten.
            let mut emptied = states(&whole, at - 1);
            for state in &mut emptied {
                state.vectors.retain(|path, _| !path.starts_with("clients/"));
            }
            if ["scaffold", "remembering"].contains(&&*name) {
                let forgot = Trial::new(&recipe, task, others, 5, 40).resume(&emptied).unwrap();
                assert_ne!(forgot[0].last(), whole[0].last(), "{name}");
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

/// Workers that are all alike: the same problem, and no noise.
const ALIKE: Quadratic = Quadratic { dim: 96, low: 0.1, high: 1.0, spread: 0.0, skew: 0.0, noise: 0.0, start: 0.5 };

#[test]
fn where_ranks_are_alike_nothing_is_lost() {
    // Sums of one, two or four equal numbers are exact.
    for sets in [
        &["compress=topk(0.1)", "feedback=residual(lambda=0.5)", "optim=sgd(momentum=0.9)", "exchange=gather"][..],
        &[
            "compress=topk(0.1)",
            "feedback=residual(lambda=1, every=3)",
            "exchange=star(down=topk(0.2), feedback=residual)",
        ],
        &["payload=gradient", "compress=topk(0.1)", "feedback=ef21(momentum=0.5)", "exchange=gather"],
        &["payload=gradient", "compress=topk(0.1)", "feedback=ef21", "exchange=star(down=topk(0.2), feedback=ef21)"],
        &["optim=adamw", "schedule.every=3", "outer=momentum(0.5)"],
        &["compress=powersgd(1)", "feedback=residual", "exchange=reduce"],
        &["local=scaffold", "optim=sgd(momentum=0)", "schedule.every=3", "exchange=gather"],
        &["aggregate=centered_clip(1)", "compress=sign", "feedback=residual", "exchange=gather"],
    ] {
        let recipe = neutral(sets);
        for (old, new) in [(4, 2), (4, 1), (2, 4)] {
            let whole = run(&recipe, &ALIKE, old, 30);
            let at = whole[0].rounds.len() / 2;
            let rest = Trial::new(&recipe, &ALIKE, new, 5, 30).resume(&states(&whole, at - 1)).unwrap();
            assert_eq!(hashes(&rest[new - 1].models()), hashes(&whole[0].models()[at..]), "{sets:?}, {old} to {new}");
        }
    }
}

#[test]
fn a_row_keeps_its_dual_variable_and_the_model_what_it_is_owed() {
    for sets in [
        &["aggregate=sum"][..],
        &["aggregate=mean"],
        &[
            "aggregate=sum(0.5)",
            "compress=topk(0.2)",
            "feedback=residual",
            "exchange=star(down=topk(0.3), feedback=residual)",
        ],
    ] {
        let recipe = neutral(&[&["local=dual", "schedule.every=6"], sets].concat());
        let before = run(&recipe, &ridge(4), 4, 48);
        let saved = states(&before, 3);
        let task = |ranks: usize| ridge(ranks);
        // C Σ βx and γ Σ e, with what the server keeps.
        let gain = |voices: f64| if sets[0] == "aggregate=sum(0.5)" { 0.5 * voices } else { 1.0 };
        let parts = |states: &[State]| {
            let ridge = ridge(states.len());
            let (mut of_duals, mut owed) = (vec![0.0f64; 40], vec![0.0f64; 40]);
            let mut workload = ridge.workload(states.len(), 5).unwrap();
            for (rank, state) in states.iter().enumerate() {
                let duals = workload.duals().unwrap();
                let held = duals.hold(5, rank as u64).unwrap();
                assert_eq!(state.vectors["local/duals"].len(), held);
                for (i, dual) in state.vectors["local/duals"].iter().enumerate() {
                    let row = duals.held(i);
                    for (c, v) in row.columns.iter().zip(row.values) {
                        of_duals[*c as usize] += f64::from(*dual) * f64::from(*v) / (1e-2 * 120.0);
                    }
                }
                let each = gain(states.len() as f64) / states.len() as f64;
                for (name, times) in [("feedback/residual", each), ("exchange/residual", 1.0)] {
                    let vector = state.vectors.get(name).into_iter().flatten();
                    owed.iter_mut().zip(vector).for_each(|(o, e)| *o += times * f64::from(*e));
                }
            }
            (of_duals, owed)
        };
        let (duals, owed) = parts(&saved);
        assert!(flat::norm(&saved[0].vectors["model"]) > 0.1);
        for others in [1, 3, 6] {
            let task = task(others);
            let now = taken(&Trial::new(&recipe, &task, others, 5, 48), &saved).unwrap();
            let (duals_now, owed_now) = parts(&now);
            assert!(gap(&duals, &duals_now) < 1e-12, "{sets:?}, {others} ranks: {}", gap(&duals, &duals_now));
            assert!(gap(&owed, &owed_now) < 1e-6, "{sets:?}, {others} ranks: {}", gap(&owed, &owed_now));
            // The model is that of the dual variables but for what is owed.
            let model: Vec<f64> = wide(&now[0].vectors["model"]).iter().zip(&owed_now).map(|(w, e)| w - e).collect();
            assert!(gap(&model, &duals_now) < 1e-5, "{sets:?}, {others} ranks: {}", gap(&model, &duals_now));
        }
        let mut unnamed = saved.clone();
        for state in &mut unnamed {
            state.numbers.remove("local/rows");
        }
        let task = task(3);
        let refused = taken(&Trial::new(&recipe, &task, 3, 5, 48), &unnamed).unwrap_err().to_string();
        assert!(refused.contains("`local=dual`") && refused.contains("resume with as many"), "{refused}");
    }
}

#[test]
fn copies_of_a_pipeline_come_and_go_where_nothing_is_on_its_way() {
    for placement in ["pipeline(capacity=0, blocks=2)", "pipeline(capacity=0, blocks=2, micro=4)"] {
        let sets =
            [&format!("placement={placement}"), "optim=sgd(momentum=0.9)", "compress=topk(0.2)", "feedback=residual"];
        let recipe = neutral(&[&sets[..], &["exchange=gather", "schedule.every=2"]].concat());
        let whole = run(&recipe, &CHAIN, 4, 40);
        let saved = states(&whole, 4);
        for others in [2, 6] {
            let trial = Trial::new(&recipe, &CHAIN, others, 5, 40);
            let now = taken(&trial, &saved).unwrap();
            for (rank, state) in now.iter().enumerate() {
                assert_eq!(state.vectors["model"], saved[rank % 2].vectors["model"]);
                let of = |states: &[State]| {
                    let same: Vec<State> = states.iter().skip(rank % 2).step_by(2).cloned().collect();
                    mean(&same, "feedback/residual", &vec![1.0; same.len()]).unwrap()
                };
                assert!(gap(&of(&saved), &of(&now)) < 1e-7);
            }
            let rest = trial.resume(&saved).unwrap();
            assert_eq!(rest[0].start, whole[0].rounds[4].model);
            let loss = |x: &[f32]| loss(&CHAIN, 1, x, &[]);
            assert!(loss(rest[0].last()) < loss(&rest[0].start), "{placement}");
        }
        let three = taken(&Trial::new(&recipe, &CHAIN, 3, 5, 40), &saved).unwrap_err().to_string();
        assert!(three.contains("blocks"), "{three}");
    }
    let stale = neutral(&["placement=pipeline(blocks=2)", "optim=sgd(momentum=0.9)"]);
    let text = refusal(&stale, &CHAIN, 6, &states(&run(&stale, &CHAIN, 4, 20), 9));
    assert!(text.contains("`placement=pipeline`") && text.contains("resume with as many"), "{text}");
}

#[test]
fn who_is_served_has_words_on_their_way() {
    let recipe = row("async-sgd", &["optim.rate=0.1"]);
    let text = refusal(&recipe, &quadratic(), 3, &vec![State::default(); 5]);
    assert!(
        text.contains("`participation`") && text.contains("resume with as many workers as the checkpoint is of, 4")
    );
}

#[test]
fn states_of_different_runs_do_not_go_together() {
    let recipe = row("ef-sgd", &["outer=momentum(0.5)"]);
    let ranks = run(&recipe, &Buffered, 4, 20);
    let mixed = [&states(&ranks, 5)[..2], &states(&ranks, 6)[2..]].concat();
    let refused = taken(&Trial::new(&recipe, &Buffered, 3, 5, 20), &mixed).unwrap_err();
    assert!(refused.kind() == Kind::Mismatch && refused.to_string().contains("disagree about"), "{refused}");
    let mut bent = states(&ranks, 5);
    bent[2].vectors.get_mut("outer/0/0/momentum").unwrap()[0] += 1.0;
    let refused = taken(&Trial::new(&recipe, &Buffered, 3, 5, 20), &bent).unwrap_err();
    assert!(refused.to_string().contains("disagree about `outer/0/0/momentum`"), "{refused}");
    let none = taken(&Trial::new(&recipe, &Buffered, 3, 5, 20), &[]).unwrap_err();
    assert_eq!(none.kind(), Kind::Mismatch, "{none}");
}

#[test]
fn a_budget_counts_what_rounds_of_another_rate_have_spent() {
    // Of two workers each draws a row half as often as of four.
    let task = sparse(240, 24, sordino::workload::Deal::Iid);
    let recipe = row("dp-sgd", &["local.batch=poisson(6)", "privacy=gaussian(noise=2, epsilon=3, unit=sample)"]);
    for (old, new) in [(4, 2), (2, 4)] {
        let saved = states(&run(&recipe, &task, old, 400), 20);
        let rest = Trial::new(&recipe, &task, new, 5, 4000).resume(&saved).unwrap();
        let told: Vec<f64> = rest[0].rounds.iter().map(|round| round.told.epsilon.unwrap()).collect();
        let last = told[told.len() - 1];
        assert!(told.len() > 5 && told.len() < 3900, "{old} to {new}: {} rounds", told.len());
        assert!(last <= 3.0 && last + 2.0 * (last - told[told.len() - 2]) > 3.0, "{old} to {new}: {last}");
        // Alone the new workers would have gone on for another number of rounds.
        let alone = run(&recipe, &task, new, 4000)[0].rounds.len();
        assert_eq!(new > old, alone < 21 + told.len(), "{old} to {new}: {alone} {}", told.len());
    }
}

#[test]
fn virtual_time_goes_on_from_the_last_rank() {
    let recipe = neutral(&["fabric=sim(spread=1, rate=1e6)", "schedule.every=2"]);
    let ranks = run(&recipe, &quadratic(), 4, 20);
    let saved = states(&ranks, 4);
    let clock = |state: &State| f64::from_bits(state.numbers["port/times"][0]);
    let latest = saved.iter().map(clock).fold(0.0, f64::max);
    let ports: Vec<State> = saved.iter().map(|state| state.part("port")).collect();
    let times = together(&Former::new(ports.iter().collect(), &[], 1.0), 6).unwrap().numbers["times"].clone();
    assert!(times.len() == 14 && [0, 1, 3, 13].iter().all(|i| f64::from_bits(times[*i]) == latest), "{times:?}");
    for others in [2, 6] {
        let rest = Trial::new(&recipe, &quadratic(), others, 5, 20).resume(&saved).unwrap();
        for rank in &rest {
            assert!(clock(&rank.rounds[0].state) > latest, "{} {latest}", clock(&rank.rounds[0].state));
            assert!(clock(&rank.rounds[0].state) < 2.0 * latest);
        }
    }
}
