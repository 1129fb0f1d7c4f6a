//! Workers that come to a server at their own pace.

use std::collections::BTreeMap;

use sordino::base::{Kind, Party, Purpose, flat};
use sordino::recipe::{Recipe, check};
use sordino::testing::{Served, ServedRun, Trial};
use sordino::workload::Task;

use super::run;
use crate::worlds::{Buffered, hashes, neutral, quadratic, row, served, with_duals};

/// A world with unequal workers, slow links and losses.
const UNEQUAL: &str = "fabric=sim(spread=0.8, flutter=0.5, loss=0.05, rate=1e6, slow=1, factor=7)";

fn serve(recipe: &Recipe, task: &dyn Task, workers: usize, steps: u64) -> ServedRun {
    Trial::new(recipe, task, workers, 5, steps).served(&Served::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn models(run: &ServedRun) -> Vec<u64> {
    hashes(&run.models.iter().map(|m| &m[..]).collect::<Vec<_>>())
}

/// Every served row and mixes that no row has, in a world of unequal workers, with a task each.
fn rows_and_mixes() -> Vec<(String, Recipe, &'static dyn Task)> {
    let mixes: &[&[&str]] = &[
        &[
            "participation=first_b(2)",
            "staleness=bounded(4)",
            "compress=topk(0.2)",
            "feedback=residual",
            "schedule.every=3",
        ],
        &[
            "participation=first_b(2)",
            "staleness=any",
            "compress=topk(0.2)",
            "feedback=residual(lambda=0.5)",
            "exchange=star(down=topk(0.1), feedback=residual)",
        ],
        &[
            "participation=first_b(3)",
            "staleness=bounded(4)",
            "exchange=star(down=topk(0.1), feedback=residual)",
            "schedule.every=2",
        ],
        // At an update of everybody the whole model repairs what codes left out, after a stop as well.
        &[
            "participation=first_b(2)",
            "staleness=bounded(4)",
            "compress=topk(0.2)",
            "feedback=residual",
            "exchange=star(down=qsgd, feedback=residual)",
        ],
        &["participation=first_b(3)", "staleness=fresh", "aggregate=median", "optim=sgd(momentum=0.9)"],
        &[
            "participation=buffered(3)",
            "staleness=discount(1)",
            "outer=momentum(0.5)",
            "compress=qsgd",
            "buffers=local",
        ],
        &["participation=buffered(4, clients=9)", "aggregate=weighted", "schedule=epochs(1)", "optim=adamw"],
        &[
            "participation=first_b(1)",
            "staleness=any",
            "payload=gradient",
            "optim=adamw",
            "compress=sign(scope=tensor)",
        ],
    ];
    let rows = served().map(|r| {
        // Short silences, and updates that everybody is gathered for within forty steps.
        let own: &[&str] =
            if r.name == "acpd" { &["schedule=constant(5)", "staleness=bounded(4)"] } else { &["optim.rate=0.1"] };
        (r.name.to_owned(), row(r.name, &[&[UNEQUAL], own].concat()))
    });
    let mixes = mixes.iter().map(|sets| (sets.join(" "), neutral(&[&["exchange=star", UNEQUAL][..], sets].concat())));
    let tried = |(name, recipe): (String, Recipe)| {
        let task = with_duals(&recipe, &Buffered);
        (name, recipe, task)
    };
    rows.chain(mixes).map(tried).collect()
}

#[test]
fn waiting_for_everybody_is_the_round_of_everybody() {
    for sets in [
        &["schedule.every=3", "optim=sgd(momentum=0.9)"][..],
        &["payload=gradient", "optim=sgd(momentum=0.9, decay=0.01)"],
        &["schedule.every=3", "optim=sgd(momentum=0.9)", "local.state=reset"],
        &["compress=topk(0.1)", "feedback=residual(lambda=0.5)", "outer=momentum(0.5)"],
        &["compress=qsgd", "aggregate=weighted", "optim=sgd(schedule=cosine(warmup=4))"],
        &["buffers=local", "aggregate=median"],
    ] {
        let everyone = neutral(&[sets, &["exchange=star"]].concat());
        let rounds = run(&everyone, &Buffered, 4, 24);
        for staleness in ["fresh", "any", "delay_adaptive", "discount(0.5)", "distance(1)"] {
            let staleness = format!("staleness={staleness}");
            let first = neutral(&[sets, &["exchange=star", "participation=first_b(4)", &staleness]].concat());
            let served = serve(&first, &Buffered, 4, 24);
            assert_eq!(models(&served), hashes(&rounds[0].models()), "{sets:?} {staleness}");
            assert!(served.updates.iter().all(|u| u.everybody && u.words.iter().all(|w| w.delay == 0)));
        }
    }
}

#[test]
fn a_single_worker_is_never_late() {
    let together = neutral(&["exchange=star", "payload=gradient", "optim.rate=0.1"]);
    for sets in [["participation=first_b(1)", "staleness=any"], ["participation=buffered(1)", "staleness=discount"]] {
        let alone = neutral(&[&sets[..], &["exchange=star", "payload=gradient", "optim.rate=0.1"]].concat());
        assert_eq!(models(&serve(&alone, &Buffered, 1, 20)), hashes(&run(&together, &Buffered, 1, 20)[0].models()));
    }
}

#[test]
fn a_simulated_run_is_the_same_again_and_threads_replay_it_bit_for_bit() {
    for (name, recipe, task) in rows_and_mixes() {
        let (one, two) = (serve(&recipe, task, 4, 40), serve(&recipe, task, 4, 40));
        assert_eq!((models(&one), &one.order, one.seconds), (models(&two), &two.order, two.seconds), "{name}");
        assert!(flat::is_finite(&one.models[one.models.len() - 1]) && one.seconds > 1.0, "{name}");
        let mut threads = recipe.clone();
        threads.set("fabric=threads").unwrap();
        let replay = Served { replay: Some(one.order.clone()), ..Served::default() };
        let replayed = Trial::new(&threads, task, 4, 5, 40).served(&replay).unwrap();
        assert_eq!(models(&replayed), models(&one), "{name}");
        assert_eq!(replayed.updates, one.updates, "{name}");
        let free = serve(&threads, task, 4, 40);
        let again = Trial::new(&threads, task, 4, 5, 40)
            .served(&Served { replay: Some(free.order.clone()), ..Served::default() })
            .unwrap();
        assert_eq!(models(&free), models(&again), "{name}: a run on threads is replayed from its record");
    }
}

#[test]
fn an_order_of_another_run_is_refused() {
    let recipe = row("async-sgd", &["optim.rate=0.1"]);
    for order in [vec![0, 0], vec![0, 1, 2], vec![7]] {
        let replay = Served { replay: Some(order), ..Served::default() };
        let error = Trial::new(&recipe, &quadratic(), 3, 5, 20).served(&replay).unwrap_err();
        assert!(error.to_string().contains("order of workers"), "{error}");
    }
}

#[test]
fn stopping_and_going_on_is_never_having_stopped() {
    for (name, recipe, task) in rows_and_mixes() {
        let trial = Trial::new(&recipe, task, 4, 5, 40);
        let whole = trial.served(&Served::default()).unwrap();
        // After the fourth the words of some begin with the whole model.
        for at in [1, 4, whole.updates.len() / 2, whole.updates.len() - 1] {
            let until = Served { until: Some(at as u64), ..Served::default() };
            let first = trial.served(&until).unwrap();
            let rest = trial.served(&Served { from: Some(first.states), ..Served::default() }).unwrap();
            assert_eq!(models(&rest), models(&whole)[at..], "{name}, stopped after update {at}");
            assert_eq!(rest.updates, whole.updates[at..], "{name}");
            assert_eq!((rest.seconds, &rest.workers), (whole.seconds, &whole.workers), "{name}: clocks go on");
            let saved = trial.served(&Served { save_after: Some(at as u64), ..Served::default() }).unwrap();
            assert_eq!(
                (models(&saved), saved.seconds),
                (models(&whole), whole.seconds),
                "{name}: saving changes nothing"
            );
        }
    }
}

#[test]
fn every_delay_is_accounted_for() {
    // T words of n workers that are sent back to work at once: applied delays and ages in flight add up to (n − 1)T.
    for (workers, world) in [(2, UNEQUAL), (5, UNEQUAL), (5, "fabric=sim(slow=2, factor=300)"), (7, "fabric=threads")] {
        for name in ["async-sgd", "delay-adaptive-sgd", "picky-sgd"] {
            let recipe = row(name, &["optim.rate=0.02", world]);
            let run = serve(&recipe, &quadratic(), workers, 30);
            let words: Vec<_> = run.updates.iter().flat_map(|u| &u.words).collect();
            let (applied, ages) = (words.iter().map(|w| w.delay).sum::<u64>(), run.ages.iter().sum::<u64>());
            assert_eq!(words.len() as u64, 30 * workers as u64);
            assert_eq!(applied + ages, (workers as u64 - 1) * words.len() as u64, "{name} {world}");
        }
    }
}

#[test]
fn the_slowest_worker_is_waited_for_where_staleness_is_bounded_and_only_there() {
    let world = "fabric=sim(slow=1, factor=50, spread=0, flutter=0)";
    let delays = |staleness: &str| {
        let staleness = format!("staleness={staleness}");
        let sets = ["exchange=star", "participation=first_b(1)", &staleness, world];
        let run = serve(&neutral(&sets), &quadratic(), 4, 60);
        let most = run.updates.iter().flat_map(|u| &u.words).map(|w| w.delay).max().unwrap();
        (most, run.updates.iter().filter(|u| u.everybody).count(), run.seconds)
    };
    let (bounded, unbounded) = (delays("bounded(6)"), delays("any"));
    assert!(bounded.0 < 6 && bounded.1 >= 5, "{bounded:?}");
    assert!(unbounded.0 > 40 && unbounded.1 == 0, "{unbounded:?}");
    assert!(bounded.2 > 3.0 * unbounded.2, "waiting costs time: {bounded:?} {unbounded:?}");
}

#[test]
fn a_model_that_is_told_in_a_code_is_far_from_the_servers_by_what_is_untold() {
    // Late words in all, those that were left out, and of these the ones since whose telling the model has hardly moved.
    let counts = |exchange: &str| {
        let sets = ["participation=first_b(1)", "staleness=distance(1.5)", "optim.rate=0.05", exchange, UNEQUAL];
        let run = serve(&neutral(&sets), &quadratic(), 2, 60);
        let late = run.updates.iter().map(|u| (u.version as usize - 1, &u.words[0])).filter(|(_, word)| word.delay > 0);
        let moved = late.map(|(now, word)| {
            (word.weight == 0.0, flat::distance(&run.models[now], &run.models[now - word.delay as usize]) <= 1.5)
        });
        let all: Vec<_> = moved.collect();
        (all.len(), all.iter().filter(|(out, _)| *out).count(), all.iter().filter(|(out, near)| *out && *near).count())
    };
    let (dense, coded) = (counts("exchange=star"), counts("exchange=star(down=topk(0.02), feedback=residual)"));
    assert!(dense.0 > 20 && dense.2 == 0, "{dense:?}");
    assert!(coded.0 > 20 && coded.1 < coded.0 && coded.2 > 5, "{coded:?}");
}

#[test]
fn who_comes_often_between_two_updates_is_told_other_entries_each_time() {
    let sets = [
        "participation=buffered(8)",
        "staleness=any",
        "exchange=star(down=randk(0.25), feedback=residual)",
        "optim.rate=0.05",
    ];
    let run = serve(&neutral(&sets), &quadratic(), 1, 64);
    // Seven times a quarter of the entries, since the update before the last one: all but 0.75⁷ of them.
    let (told, model) = (&run.workers[0].vectors["model"], &run.models[run.models.len() - 2]);
    let known = told.iter().zip(model).filter(|(a, b)| (*a - *b).abs() < 1e-6).count();
    assert!((70..96).contains(&known), "{known} of 96 entries");
}

#[test]
fn words_are_messages_and_are_counted_where_they_move() {
    for (name, recipe, task) in rows_and_mixes() {
        let run = serve(&recipe, task, 4, 24);
        let of = |from: Party, to: Party, purpose: &Purpose| {
            let flows = run.ledger.flows().filter(|(l, _)| (l.from, l.to, &l.purpose) == (from, to, purpose));
            flows.map(|(_, flow)| flow.messages).sum::<u64>()
        };
        let mut words = BTreeMap::new();
        for word in run.updates.iter().flat_map(|u| &u.words) {
            *words.entry(word.worker).or_insert(0) += 1;
        }
        for worker in 0..4 {
            let up = of(Party::Worker(worker), Party::Server, &Purpose::Payload);
            let down = of(Party::Server, Party::Worker(worker), &Purpose::Payload);
            assert_eq!(up, down, "{name}: every piece of work is answered");
            let heard = words.get(&worker).copied().unwrap_or(0);
            assert!(up == heard || up == heard + 1, "{name}: what is in flight at the end moves nothing");
        }
    }
}

#[test]
fn refusals_name_both_choices_and_a_cure() {
    for (sets, cure) in [
        (&["staleness=any"][..], "first_b(1)"),
        (&["participation=first_b(2)", "exchange=gather"], "exchange=star"),
        (&["participation=first_b(2)", "exchange=star", "payload=parameters"], "displacement"),
        (&["participation=first_b(2)", "exchange=star(down=sign)"], "exchange.feedback=residual"),
        (&["participation=first_b(2)", "exchange=star(feedback=residual)"], "exchange.feedback=none"),
        (&["participation=first_b(2)", "exchange=star", "feedback=ef21"], "feedback=none"),
        (&["participation=first_b(2)", "exchange=star", "local=scaffold"], "local=descent"),
        (&["participation=first_b(2)", "exchange=star", "buffers=root"], "buffers=local"),
        (&["participation=buffered(2)", "exchange=star", "staleness=bounded(3)"], "first_b"),
        (&["participation=first_b(1)", "exchange=star", "payload=gradient", "optim=adam", "staleness=discount"], "sgd"),
        (&["participation=buffered(2, clients=9)", "exchange=star", "feedback=residual"], "feedback=none"),
        (&["participation=buffered(2, clients=9)", "exchange=star", "local.estimate=svrg"], "participation.clients=0"),
        (
            &["participation=first_b(2)", "exchange=star", "local=dual", "aggregate=sum"],
            "staleness=bounded(20), or any",
        ),
        (
            &["participation=first_b(2)", "exchange=star", "local=dual", "aggregate=sum", "staleness=discount"],
            "staleness=bounded(20), or any",
        ),
        (&["participation=buffered(2, clients=9)", "exchange=star", "buffers=local"], "buffers=average"),
        (&["participation=buffered(2, clients=1e12)", "exchange=star"], "10000000 at most"),
        (&["participation=first_b(2)", "exchange=star", "privacy=gaussian(noise=1, clip=1)"], "poisson"),
        (&["participation=first_b(2)", "exchange=star", "fabric.attack=alie"], "attack=none"),
    ] {
        let mut recipe = Recipe::default();
        for set in sets {
            recipe.set(set).unwrap();
        }
        recipe.resolve(&sordino::recipe::Defaults::default()).unwrap();
        let error = check(&recipe).unwrap_err();
        assert!(error.kind() == Kind::Request && error.to_string().contains(cure), "{sets:?}: {error}");
    }
    let many = neutral(&["participation=first_b(5)", "exchange=star"]);
    let error = Trial::new(&many, &quadratic(), 4, 5, 8).served(&Served::default()).unwrap_err().to_string();
    assert!(error.contains("4 workers run"), "{error}");
    let crowd = neutral(&["participation=buffered(2, clients=3)", "exchange=star"]);
    let error = Trial::new(&crowd, &quadratic(), 4, 5, 8).served(&Served::default()).unwrap_err().to_string();
    assert!(error.contains("participation.clients"), "{error}");
}

#[test]
fn any_world_keeps_the_account_of_delays() {
    for seed in 0..30 {
        let (workers, slow) = (1 + seed as usize % 6, seed % 3);
        let world = format!("fabric=sim(seed={seed}, spread=1, flutter=1, slow={slow}, factor=40)");
        let recipe = neutral(&["exchange=star", "participation=first_b(1)", "staleness=any", &world]);
        let run = serve(&recipe, &quadratic(), workers, 20);
        let applied: u64 = run.updates.iter().flat_map(|u| &u.words).map(|w| w.delay).sum();
        assert_eq!(applied + run.ages.iter().sum::<u64>(), (workers as u64 - 1) * 20 * workers as u64, "{world}");
    }
}
