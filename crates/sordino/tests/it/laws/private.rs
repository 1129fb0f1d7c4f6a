//! What hides a contribution, what that costs, and that nothing else is changed by it.

use sordino::base::Kind;
use sordino::privacy::{Accountant, Event};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::testing::Trial;
use sordino::workload::Deal;

use super::{run, same_bits};
use crate::worlds::{Buffered, hashes, neutral, quadratic, row, sparse};

#[test]
fn without_noise_and_without_a_bound_privacy_is_none_bit_for_bit() {
    let nothing = "privacy=gaussian(noise=0, clip=none)";
    for sets in [&["exchange=star"][..], &["payload=gradient", "compress=topk(0.2)", "feedback=ef21"]] {
        same_bits(&quadratic(), &neutral(&[sets, &[nothing]].concat()), &neutral(sets), 20);
    }
    let hidden = neutral(&["privacy=gaussian(noise=0.1, clip=1)"]);
    assert_ne!(run(&hidden, &quadratic(), 4, 20)[0].last(), run(&neutral(&[]), &quadratic(), 4, 20)[0].last());
}

/// The epsilons of a run's rounds.
fn epsilons(recipe: &Recipe, steps: u64, ranks: usize) -> Vec<f64> {
    run(recipe, &quadratic(), ranks, steps)[0].rounds.iter().map(|r| r.told.epsilon.unwrap()).collect()
}

#[test]
fn epsilon_is_what_the_accountant_says_of_the_rounds_and_of_nothing_else() {
    let events = |rate: f64, multiplier: f64, count: u64| {
        let mut accountant = Accountant::new();
        accountant.compose(&Event { rate, multiplier, count }).unwrap();
        accountant.epsilon(1e-5)
    };
    let everyone = neutral(&["privacy=gaussian(noise=4, clip=0.5)"]);
    for (round, epsilon) in epsilons(&everyone, 12, 3).iter().enumerate() {
        assert_eq!(*epsilon, events(1.0, 4.0, round as u64 + 1));
    }
    let drawn = |sets: &[&str]| row("dp-fedavg", &[sets, &["participation=poisson(2, clients=8)"]].concat());
    let told = epsilons(&drawn(&["privacy.noise=1.5"]), 12, 2);
    for (round, epsilon) in told.iter().enumerate() {
        assert_eq!(*epsilon, events(0.25, 1.5, round as u64 + 1));
    }
    assert!(told.is_sorted(), "spent epsilon never falls");
    // Another bound, another seed, other data, another number of ranks: the same account.
    assert_eq!(told, epsilons(&drawn(&["privacy.noise=1.5", "privacy.clip=9", "privacy.seed=5"]), 12, 3));
    assert_ne!(told, epsilons(&drawn(&["privacy.noise=1.4"]), 12, 2));
}

#[test]
fn a_draw_of_nobody_still_spends_and_still_moves_by_noise() {
    let recipe = row("dp-fedavg", &["participation=poisson(0.4, clients=8)", "privacy.noise=1"]);
    let ranks = run(&recipe, &quadratic(), 2, 30);
    let participation = recipe.participation().unwrap();
    let (mut asked, mut empty) = (Vec::new(), 0);
    for (round, now) in ranks[1].rounds.iter().enumerate() {
        participation.asked(5, round as u64, 2, &mut asked);
        if asked.is_empty() && round > 0 {
            empty += 1;
            let before = &ranks[1].rounds[round - 1];
            assert_ne!(now.model, before.model, "what looks at models cannot tell that nobody was there");
            assert!(now.told.epsilon > before.told.epsilon && now.told.voices == 1);
        }
    }
    assert!(empty > 3, "{empty} rounds asked nobody");
}

#[test]
fn a_budget_ends_the_run_before_the_round_that_would_overdraw_it() {
    for (row_name, sets) in [
        ("sync-sgd", &["privacy=gaussian(noise=3, clip=0.1, epsilon=6)", "exchange=gather"][..]),
        ("dp-fedavg", &["participation=poisson(2, clients=8)", "privacy.noise=2", "privacy.epsilon=2"]),
    ] {
        let told = epsilons(&row(row_name, sets), 400, 2);
        let budget = if row_name == "sync-sgd" { 6.0 } else { 2.0 };
        assert!(told.len() > 2 && told.len() < 400, "{row_name}: {} rounds", told.len());
        assert!(told[told.len() - 1] <= budget, "{row_name}: {told:?}");
        let step = told[told.len() - 1] - told[told.len() - 2];
        assert!(told[told.len() - 1] + 2.0 * step > budget, "{row_name} ends early: {told:?}");
    }
    let small = row("sync-sgd", &["privacy=gaussian(noise=0.5, clip=0.1, epsilon=1)", "exchange=gather"]);
    let refused = Trial::new(&small, &quadratic(), 2, 5, 10).run().unwrap_err();
    assert!(refused.kind() == Kind::Request && refused.to_string().contains("raise privacy.epsilon"), "{refused}");
}

#[test]
fn noise_that_is_solved_for_spends_the_budget_and_no_more() {
    let mut recipe = Recipe::named("dp-fedavg").unwrap();
    for set in ["participation=poisson(2, clients=8)", "privacy.epsilon=3", "privacy.seed=1", "schedule=constant(2)"] {
        recipe.set(set).unwrap();
    }
    recipe.resolve(&Defaults::default()).unwrap();
    recipe.solve(60, 2, &[1.0; 8]).unwrap();
    check(&recipe).unwrap();
    let told = epsilons(&recipe, 60, 2);
    assert_eq!(told.len(), 30);
    assert!(told[29] <= 3.0 && told[29] > 2.99, "{}", told[29]);
}

#[test]
fn a_private_run_that_stops_goes_on_with_the_same_bits_and_the_same_account() {
    let task = sparse(200, 24, Deal::Iid);
    for recipe in [
        row("dp-sgd", &["local.batch=poisson(8)", "optim.rate=0.5"]),
        row("dp-clip21", &["local.batch=full", "privacy.noise=0.1"]),
        row("dp-fedavg", &["participation=poisson(2, clients=8)", "schedule=constant(2)"]),
    ] {
        let trial = Trial::new(&recipe, &task, 3, 5, 12);
        let whole = trial.run().unwrap();
        let states: Vec<_> = whole.iter().map(|r| r.rounds[2].state.clone()).collect();
        let rest = trial.resume(&states).unwrap();
        let (end, went_on) = (whole[0].rounds.last().unwrap(), rest[0].rounds.last().unwrap());
        assert_eq!(hashes(&[&end.model]), hashes(&[&went_on.model]), "{}", recipe.method);
        assert_eq!(end.told.epsilon.map(f64::to_bits), went_on.told.epsilon.map(f64::to_bits), "{}", recipe.method);
    }
}

#[test]
fn running_statistics_are_refused_once_the_model_is_known() {
    let refusal = |name: &str| Trial::new(&row(name, &[]), &Buffered, 2, 5, 8).run().unwrap_err().to_string();
    assert!(refusal("dp-clip21").contains("; set buffers=local"), "{}", refusal("dp-clip21"));
    assert!(refusal("dp-fedavg").contains("; use a model without batch normalisation"), "{}", refusal("dp-fedavg"));
    run(&row("dp-clip21", &["buffers=local"]), &Buffered, 2, 8);
}

#[test]
fn every_refusal_of_what_cannot_be_certified_names_both_choices_and_a_cure() {
    let cases: &[(&str, &[&str], [&str; 2], &str)] = &[
        ("sync-sgd", &["privacy=gaussian(unit=sample)"], ["privacy", "local"], "local.estimate=per_sample"),
        ("dp-sgd", &["payload=displacement", "exchange=gather"], ["privacy", "payload"], "payload=gradient"),
        ("dp-sgd", &["local.batch=32"], ["privacy", "local"], "local.batch=poisson"),
        ("dp-sgd", &["local.estimate=per_sample(clip=2)", "privacy.clip=1"], ["privacy", "local"], "same number"),
        ("dp-sgd", &["feedback=ef21", "exchange=gather"], ["privacy", "feedback"], "feedback=none"),
        ("dp-sgd", &["participation=poisson(2)", "exchange=star"], ["privacy", "participation"], "privacy.unit=client"),
        ("dp-fedavg", &["participation=sampled(2)"], ["privacy", "participation"], "participation=poisson"),
        ("dp-fedavg", &["aggregate=mean"], ["privacy", "aggregate"], "mean(by=expected)"),
        ("fedavg", &["participation=everyone", "privacy=gaussian"], ["privacy", "aggregate"], "aggregate=mean"),
        (
            "dp-clip21",
            &["feedback=none", "aggregate=median", "privacy.trust=server"],
            ["privacy", "aggregate"],
            "nobody",
        ),
        (
            "dp-clip21",
            &["compress=topk(0.1)", "privacy.remember=clean"],
            ["privacy", "compress"],
            "privacy.remember=said",
        ),
        ("scaffold", &["participation=everyone", "privacy=gaussian"], ["privacy", "local"], "local=descent"),
        (
            "local-sgd",
            &["payload=displacement", "feedback=residual(every=2)", "privacy=gaussian", "compress=sign"],
            ["privacy", "feedback"],
            "feedback.every=0",
        ),
        (
            "local-sgd",
            &["payload=displacement", "local.state=average", "privacy=gaussian"],
            ["privacy", "local"],
            "keep",
        ),
    ];
    for (name, sets, both, cure) in cases {
        let mut recipe = Recipe::named(name).unwrap();
        for set in *sets {
            recipe.set(set).unwrap();
        }
        recipe.resolve(&Defaults::default()).unwrap();
        let refused = check(&recipe).unwrap_err();
        let text = refused.to_string();
        assert_eq!(refused.kind(), Kind::Request, "{name} {sets:?}: {text}");
        for axis in both {
            assert!(text.contains(&format!("`{axis}=")), "{name} {sets:?}: {text}");
        }
        assert!(text.rsplit_once("; ").is_some_and(|(_, told)| told.contains(cure)), "{name} {sets:?}: {text}");
    }
}
