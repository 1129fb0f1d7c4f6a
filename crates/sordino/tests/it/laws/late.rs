//! Words that may travel for some local steps: no step late is not late, and what hides an exchange changes no bit.

use sordino::base::State;
use sordino::recipe::{Recipe, check};
use sordino::testing::{Rank, Trial};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, apart, hashes, neutral, quadratic, row, tried};

#[test]
fn no_step_late_is_the_plain_round_for_every_row_and_mix() {
    for (name, plain) in rows_and_mixes() {
        if plain.choice("staleness").unwrap().name == "delayed" {
            continue;
        }
        let mut late = plain.clone();
        late.set("staleness=delayed(0)").unwrap();
        let of = |recipe: &Recipe| {
            let ranks = run(recipe, tried(recipe), 3, 20);
            let states: Vec<State> = ranks.iter().flat_map(|r| r.rounds.iter().map(|r| r.state.clone())).collect();
            (hashes(&ranks[0].models()), states, ranks[0].ledger.clone())
        };
        assert!(of(&late) == of(&plain), "{name}");
    }
}

#[test]
fn words_that_are_late_are_not_prompt() {
    let of = |sets: &[&str]| run(&neutral(&[sets, &["schedule.every=4"]].concat()), &Buffered, 3, 40);
    let (prompt, late) = (of(&[]), of(&["staleness=delayed(2)"]));
    assert_eq!(prompt[0].rounds.len(), late[0].rounds.len());
    assert_eq!(prompt[0].models()[1], late[0].models()[1], "the first words are about the same steps");
    assert!(apart(prompt[0].last(), late[0].last()) > 1e-4);
    let steps = |ranks: &[Rank]| ranks[0].rounds.iter().map(|r| r.told.steps).collect::<Vec<_>>();
    assert_eq!(steps(&prompt), [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]);
    assert_eq!(steps(&late), [6, 10, 14, 18, 22, 26, 30, 34, 38, 40], "the last round has no next one");
}

#[test]
fn as_many_steps_are_made_ahead_as_the_next_round_allows() {
    for (name, recipe) in rows_and_mixes() {
        let late = recipe.choice("staleness").unwrap().clone();
        if late.name != "delayed" {
            continue;
        }
        let most: u64 = late.named.get("steps").map_or(1, |steps| steps.to_string().parse().unwrap());
        let prompt = {
            let mut recipe = recipe.clone();
            recipe.set("staleness=fresh").unwrap();
            recipe
        };
        let (late, prompt) = (run(&recipe, tried(&recipe), 3, 40), run(&prompt, tried(&recipe), 3, 40));
        let silences: Vec<u64> = prompt[0].rounds.iter().map(|r| r.told.silence).collect();
        let told = late[0].rounds.iter().map(|r| &r.told);
        assert!(told.clone().map(|t| t.silence).eq(silences.iter().copied()), "{name}: a schedule does not ask for it");
        let mut done = 0;
        for (i, told) in told.enumerate() {
            done += silences[i];
            assert_eq!(told.steps, done + silences.get(i + 1).map_or(0, |next| most.min(*next)), "{name}, round {i}");
        }
    }
}

#[test]
fn more_steps_late_than_a_round_has_is_as_many_as_it_has() {
    for sets in [&["schedule.every=3", "optim.momentum=0.9"][..], &["payload=gradient"], &["schedule=growing"]] {
        let of = |late| run(&neutral(&[sets, &[late]].concat()), &Buffered, 3, 30);
        let (all, more) = (of("staleness=delayed(30)"), of("staleness=delayed(1000)"));
        assert_eq!(hashes(&all[0].models()), hashes(&more[0].models()), "{sets:?}");
    }
}

#[test]
fn one_worker_cannot_tell_when_its_own_words_come_in() {
    // One step a round: bit for bit, since its own model is the agreed one.
    let of = |late: &str, sets: &[&str]| run(&neutral(&[sets, &[late]].concat()), &quadratic(), 1, 40);
    let plain = of("staleness=fresh", &[]);
    assert_eq!(hashes(&of("staleness=delayed", &[])[0].models()), hashes(&plain[0].models()));
    for sets in [&["schedule.every=4", "optim=sgd(momentum=0.9, decay=0.01)"][..], &["schedule.every=8", "optim=adamw"]]
    {
        let (prompt, late) = (of("staleness=fresh", sets), of("staleness=delayed(3)", sets));
        for (a, b) in prompt[0].models().iter().zip(late[0].models()) {
            assert!(apart(a, b) < 1e-5, "{sets:?}");
        }
    }
}

#[test]
fn one_fragment_is_the_whole_and_several_say_a_share_each() {
    let of = |fragments: usize| {
        let sets = [
            &format!("payload=displacement(fragments={fragments})"),
            "feedback=residual(lambda=1)",
            "schedule.every=4",
        ];
        run(&neutral(&sets), &Buffered, 3, 24)
    };
    let plain = run(&neutral(&["feedback=residual(lambda=1)", "schedule.every=4"]), &Buffered, 3, 24);
    let (whole, halves) = (of(1), of(2));
    assert_eq!(hashes(&plain[0].models()), hashes(&whole[0].models()));
    let sent = |ranks: &[Rank]| ranks[0].ledger.bytes_where(|l| l.purpose == sordino::base::Purpose::Payload);
    assert!(sent(&halves) * 10 < sent(&whole) * 6, "{} of {}", sent(&halves), sent(&whole));
    // In its turn a fragment moves, and nothing else does.
    for (round, pair) in halves[0].models().windows(2).enumerate() {
        let moved: Vec<bool> = [0..80, 80..160].map(|of| pair[0][of.clone()] != pair[1][of]).to_vec();
        assert_eq!(moved, [round % 2 == 0, round % 2 == 1], "round {round}");
    }
    let many = neutral(&["payload=displacement(fragments=9)", "feedback=residual(lambda=1)"]);
    let refused = Trial::new(&many, &Buffered, 2, 5, 4);
    assert!(refused.run().unwrap_err().to_string().contains("lower payload.fragments"));
}

/// When the last rank has come to the end of a run, on its virtual clock.
fn seconds(name: &str, sets: &[&str], world: &str, steps: u64) -> f64 {
    let recipe = row(
        name,
        &[sets, &[&format!("fabric=sim({world}, step=0.1, jitter=0, loss=0, spread=0, flutter=0)")]].concat(),
    );
    let ranks = Trial::new(&recipe, &quadratic(), 4, 5, steps).run().unwrap();
    let end = |rank: &Rank| f64::from_bits(rank.rounds.last().unwrap().state.numbers["port/times"][0]);
    ranks.iter().map(end).fold(0.0, f64::max)
}

#[test]
fn an_exchange_that_takes_less_than_the_steps_meanwhile_is_hidden() {
    // 96 entries at 10 kbit/s: about 0.3 s a message, and rounds of 2 s.
    let (slow, still) = ("latency=0.05, rate=1e4", "latency=0, rate=1e15");
    let cases: &[(&str, &[&str])] = &[
        ("local-sgd", &["payload=displacement", "exchange=gather"]),
        ("local-sgd", &["payload=displacement", "exchange=gather", "compress=qsgd"]),
        ("local-sgd", &["payload=parameters", "exchange=reduce"]),
        ("local-sgd", &["payload=displacement", "exchange=reduce(piece=10)"]),
        ("local-sgd", &["payload=displacement", "exchange=star"]),
        ("local-sgd", &["payload=displacement", "exchange=two_phase(piece=10)"]),
        ("local-sgd", &["payload=displacement", "compress=qsgd(scope=bucket(16))", "exchange=two_phase"]),
        ("diloco", &["compress=orq", "feedback=residual", "exchange=star(down=orq, feedback=residual)"]),
    ];
    for (name, sets) in cases {
        let of = |world, late| seconds(name, &[*sets, &["schedule.every=20", late][..]].concat(), world, 1000);
        let computing = of(still, "staleness=fresh");
        assert!((computing - 100.0).abs() < 1e-6, "{computing}");
        let (waited, hidden) = (of(slow, "staleness=fresh") - computing, of(slow, "staleness=delayed(15)") - computing);
        assert!(waited > 5.0 && hidden <= 0.1 * waited, "{name} {sets:?}: {hidden} of {waited} s are left");
        // Too short a time hides what it is long.
        let some = of(slow, "staleness=delayed(1)") - computing;
        assert!(some > hidden && some < waited, "{name} {sets:?}: {some} of {waited} s are left");
    }
}

#[test]
fn what_cannot_go_on_meanwhile_is_refused_with_a_cure() {
    let refusal = |name: &str, sets: &[&str]| {
        let mut recipe = Recipe::named(name).unwrap();
        sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
        recipe.resolve(&sordino::recipe::Defaults::default()).unwrap();
        check(&recipe).unwrap_err().to_string()
    };
    let late = "staleness=delayed(2)";
    for (name, sets, cure) in [
        ("fedavg", &[late][..], "participation=everyone"),
        ("async-sgd", &[late], "participation=everyone"),
        ("dsp", &[late], "placement=replicate"),
        ("cocoa", &[late, "schedule=constant(3)"], "local=descent without prox"),
        (
            "local-sgd",
            &[late, "local=scaffold", "optim.momentum=0", "payload=displacement"],
            "local=descent without prox",
        ),
        ("local-sgd", &[late, "local.prox=0.1"], "local=descent without prox"),
        ("local-sgd", &[late, "schedule=epochs(1)"], "schedule=constant"),
        ("local-sgd", &[late, "exchange=reduce(engine)"], "use exchange=reduce"),
        ("local-sgd", &["staleness=any"], "staleness=fresh or delayed"),
    ] {
        let text = refusal(name, sets);
        assert!(text.contains("staleness") && text.contains(cure), "{name} {sets:?}: {text}");
    }
    let parts = "payload=displacement(fragments=2)";
    let memory = "feedback=residual(lambda=1)";
    for (sets, cure) in [
        (&["feedback=none"][..], "residual(lambda=1)"),
        (&["feedback=ef21"], "residual(lambda=1)"),
        (&[memory, "participation=sampled(2, clients=5)", "exchange=star"], "participation=everyone"),
        (&[memory, "placement=pipeline"], "placement=replicate"),
        (&[memory, "privacy=gaussian(unit=client)", "schedule.every=1"], "privacy=none"),
        (&[memory, "compress=powersgd(1)"], "another compress"),
        (&[memory, "exchange=star(down=sign, feedback=residual)"], "exchange.feedback=none"),
        (&[memory, "compress=sign", "exchange=two_phase"], "exchange.feedback=none"),
        (&[memory, "aggregate=centered_clip"], "aggregate=median"),
    ] {
        let text = refusal("local-sgd", &[&[parts, "exchange=gather"], sets].concat());
        assert!(text.contains("payload") && text.contains(cure), "{sets:?}: {text}");
    }
}

#[test]
fn who_closes_a_round_of_our_own_steps_goes_on_meanwhile() {
    let recipe = row("local-sgd", &["staleness=delayed(2)"]);
    let work = |mut session: sordino::engine::Session, mut workload: Box<dyn sordino::workload::Workload>| {
        session.open()?;
        session.spend(&mut *workload)?;
        session.close(0).map(drop)
    };
    let told = Trial::new(&recipe, &Buffered, 1, 5, 8).with(|port| Box::new(port), work).unwrap_err().to_string();
    assert!(told.contains("`meet`"), "{told}");
}
