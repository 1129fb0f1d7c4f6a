//! Federated rounds: who is asked, who reports, what clients remember meanwhile, and what it all costs.

use std::collections::BTreeMap;

use sordino::base::{Party, Purpose, State};
use sordino::recipe::{Defaults, Recipe};
use sordino::testing::{Rank, Round, Trial};
use sordino::workload::{Batch, Draw, Task};

use super::{run, same_bits};
use crate::worlds::{Buffered, apart, gap, hashes, neutral, quadratic, row, wide};

/// Federated recipes with every kind of memory, on few clients.
fn recipes(participation: &str) -> Vec<(&'static str, Recipe)> {
    let of = |name: &'static str, base: &'static str, sets: &[&'static str]| {
        // Who is late is told by a virtual clock.
        let hurried = participation.contains("over=") || participation.contains("deadline=");
        let fabric = if hurried { "fabric=sim(spread=2)" } else { "fabric=threads" };
        let participation = format!("participation={participation}");
        let sets = [sets, &[&participation[..], fabric]].concat();
        (name, if base.is_empty() { neutral(&sets) } else { row(base, &sets) })
    };
    vec![
        of("fedavg", "fedavg", &["local.batch=4"]),
        of("fedmom", "fedmom", &["local.batch=4"]),
        of("fedprox", "fedprox", &["local.batch=4", "schedule=epochs(2)"]),
        of("scaffold", "scaffold", &["local.batch=4"]),
        of(
            "residual",
            "",
            &["exchange=star", "compress=topk(0.1)", "feedback=residual(lambda=0.5)", "schedule.every=3"],
        ),
        of("ef21", "", &["exchange=star", "payload=gradient", "compress=topk(0.2)", "feedback=ef21(momentum=0.5)"]),
        of("keep", "", &["exchange=star", "optim=sgd(momentum=0.9)", "schedule.every=3", "local.state=keep"]),
        of(
            "adamw",
            "",
            &["exchange=star", "optim=adamw(rate=0.01)", "schedule.every=2", "compress=qsgd", "outer=adam"],
        ),
    ]
}

/// What clients remember after a round, whichever rank keeps it.
fn clients(ranks: &[Rank], round: usize) -> BTreeMap<String, State> {
    let theirs = |rank: &Rank| rank.rounds[round].state.part("clients").families();
    ranks.iter().flat_map(theirs).collect()
}

/// A state without what every round moves.
fn resting(round: &Round) -> State {
    let mut state = round.state.clone();
    state.numbers.remove("position");
    state.numbers.retain(|name, _| !name.ends_with("times"));
    state.vectors.retain(|name, _| !name.starts_with("privacy"));
    state.numbers.retain(|name, _| !name.starts_with("privacy"));
    state
}

/// Whom a recipe asks in a round.
fn asked(recipe: &Recipe, round: u64) -> Vec<u64> {
    let mut asked = Vec::new();
    recipe.participation().unwrap().asked(5, round, 3, &mut asked);
    asked
}

#[test]
fn results_do_not_depend_on_the_number_of_ranks() {
    for participation in ["sampled(4, clients=9)", "poisson(2, clients=6)"] {
        for (name, recipe) in recipes(participation) {
            let one = run(&recipe, &Buffered, 1, 24);
            for ranks in [2, 3, 5] {
                let many = run(&recipe, &Buffered, ranks, 24);
                assert_eq!(hashes(&many[ranks - 1].models()), hashes(&one[0].models()), "{name}, {ranks} ranks");
                for round in 0..one[0].rounds.len() {
                    assert_eq!(many[1].rounds[round].buffers, one[0].rounds[round].buffers, "{name}, {ranks} ranks");
                    assert_eq!(clients(&many, round), clients(&one, round), "{name}, {ranks} ranks, round {round}");
                }
            }
            let last = one[0].rounds.len() - 1;
            let remembers = !["fedavg", "fedmom", "fedprox"].contains(&name);
            assert_eq!(!clients(&one, last).is_empty(), remembers, "{name}");
        }
    }
}

#[test]
fn asking_all_clients_is_everyone_on_a_star_bit_for_bit() {
    for ((name, all), (_, everyone)) in recipes("sampled(4, clients=4)").iter().zip(&recipes("everyone")) {
        let weighs = all.choice("aggregate").unwrap().name == "weighted";
        // A meeting of ranks means buffers plainly, that of clients as it means the rest.
        same_bits(if weighs { &PLAIN } else { &Buffered }, all, everyone, 24);
        assert!(run(all, &Buffered, 4, 24)[0].rounds.len() > 2, "{name}");
    }
    let (some, everyone) = (&recipes("sampled(3, clients=4)")[0].1, &recipes("everyone")[0].1);
    assert_ne!(run(some, &PLAIN, 4, 24)[0].last(), run(everyone, &PLAIN, 4, 24)[0].last());
}

const PLAIN: sordino::workload::Quadratic =
    sordino::workload::Quadratic { dim: 96, low: 0.1, high: 1.0, spread: 1.0, skew: 0.3, noise: 0.1, start: 0.5 };

#[test]
fn averaging_over_one_client_that_is_always_asked_is_local_training() {
    let task = quadratic();
    let far = |participation: &str| {
        let recipe = row("fedavg", &["optim.rate=0.1", "schedule=constant(4)", participation]);
        let found = run(&recipe, &task, 2, 40);
        let mut share = task.workload(1, 5).unwrap();
        let mut x = share.start(5).parameters;
        let mut far = 0.0f64;
        for (step, round) in (0..40u64).zip((0..40).map(|t| t / 4)) {
            let mut g = vec![0.0f32; x.len()];
            let draw = Draw { seed: 5, client: 0, step, batch: Batch::Rows(32) };
            share.gradient(&x, &mut [], &draw, &mut g).unwrap();
            x.iter_mut().zip(&g).for_each(|(x, g)| *x -= 0.1 * g);
            if step % 4 == 3 {
                far = far.max(apart(&x, &found[1].rounds[round].model));
            }
        }
        far
    };
    assert!(far("participation=sampled(1, clients=1)") < 1e-5);
    assert!(far("participation=sampled(1, clients=2)") > 1e-2);
}

#[test]
fn federated_momentum_of_nothing_is_federated_averaging_bit_for_bit() {
    let participation = ["participation=sampled(4, clients=9)", "local.batch=4"];
    let momentum = |beta: &str| row("fedmom", &[&participation[..], &[beta]].concat());
    let averaging = row("fedavg", &participation);
    same_bits(&Buffered, &momentum("outer.beta=0"), &averaging, 24);
    assert_ne!(
        run(&momentum("outer.beta=0.1"), &Buffered, 2, 24)[0].last(),
        run(&averaging, &Buffered, 2, 24)[0].last()
    );
}

/// Rounds in which nobody spoke change nothing; how many there were, and how many others.
fn idle(name: &str, ranks: &[Rank]) -> [usize; 2] {
    let mut count = [0, 0];
    for rank in ranks {
        for (round, now) in rank.rounds.iter().enumerate() {
            let empty = now.told.voices == 0;
            count[usize::from(!empty)] += 1;
            if empty && round > 0 {
                assert_eq!(resting(now), resting(&rank.rounds[round - 1]), "{name}, round {round}");
            } else if empty {
                assert_eq!(hashes(&[&now.model]), hashes(&[&rank.start]), "{name}");
                assert!(now.state.part("clients").is_empty() && now.state.part("outer").vectors.is_empty(), "{name}");
            }
        }
    }
    count
}

#[test]
fn a_round_without_reports_changes_nothing() {
    for participation in ["poisson(0.7, clients=6)", "sampled(3, clients=6, deadline=100, least=3)"] {
        for (name, recipe) in recipes(participation) {
            let mut recipe = recipe;
            recipe.set("fabric=sim(fail=0.3)").unwrap();
            let [empty, full] = idle(name, &run(&recipe, &Buffered, 3, 60));
            assert!(empty > 0 && full > 0, "{name}, {participation}: {empty} empty, {full} others");
        }
    }
    // A deadline that nobody can keep.
    for (name, recipe) in recipes("sampled(3, clients=6, deadline=0.000001)") {
        let ranks = run(&recipe, &Buffered, 3, 24);
        assert_eq!(idle(name, &ranks)[1], 0, "{name}");
        assert_eq!(ranks[1].last(), ranks[1].start, "{name}");
    }
}

/// `recipes` in a world where some are late.
fn hurried() -> Vec<(&'static str, Recipe)> {
    let mut all = Vec::new();
    for participation in ["sampled(2, clients=7, over=2)", "sampled(4, clients=7, deadline=0.3)"] {
        all.extend(recipes(participation));
    }
    all
}

#[test]
fn whoever_is_late_is_as_if_it_had_not_been_asked() {
    for (name, recipe) in hurried() {
        let ranks = run(&recipe, &Buffered, 3, 40);
        let mut late = 0;
        for round in 0..ranks[0].rounds.len() {
            let asked = asked(&recipe, round as u64);
            let voices = ranks[0].rounds[round].told.voices;
            late += asked.len() as u64 - voices;
            let before = if round == 0 { BTreeMap::new() } else { clients(&ranks, round - 1) };
            let now = clients(&ranks, round);
            let moved: Vec<&String> = now.keys().filter(|id| before.get(*id) != now.get(*id)).collect();
            assert!(before.keys().all(|id| now.contains_key(id)), "{name}: nobody is forgotten");
            assert!(moved.len() as u64 <= voices, "{name}, round {round}: {moved:?} of {voices}");
            assert!(moved.iter().all(|id| asked.contains(&id.parse().unwrap())), "{name}: {moved:?} of {asked:?}");
            if ["scaffold", "residual", "ef21", "keep"].contains(&name) {
                assert_eq!(moved.len() as u64, voices, "{name}: whoever spoke remembers it");
            }
        }
        assert!(late > 0, "{name}: nobody was late");
    }
}

#[test]
fn haste_is_replayed_from_its_seed_on_any_number_of_ranks() {
    for (name, recipe) in hurried() {
        let of = |recipe: &Recipe, ranks| hashes(&run(recipe, &Buffered, ranks, 40)[0].models());
        let once = of(&recipe, 3);
        assert_eq!(once, of(&recipe, 3), "{name}");
        assert_eq!(once, of(&recipe, 1), "{name}");
        let mut elsewhere = recipe.clone();
        elsewhere.set("fabric.seed=1").unwrap();
        assert_ne!(once, of(&elsewhere, 3), "{name}: another world has others late");
    }
}

#[test]
fn a_simulated_world_without_haste_gives_the_bits_of_threads() {
    for participation in ["everyone", "sampled(4, clients=9)", "poisson(2, clients=6)"] {
        for (name, threads) in recipes(participation) {
            let mut sim = threads.clone();
            sim.set("fabric=sim(loss=0.1, spread=1)").unwrap();
            let (a, b) = (run(&threads, &Buffered, 3, 24), run(&sim, &Buffered, 3, 24));
            for (a, b) in a.iter().zip(&b) {
                assert_eq!(hashes(&a.models()), hashes(&b.models()), "{name}, {participation}");
                assert_eq!(a.ledger, b.ledger, "{name}, {participation}");
            }
        }
    }
}

#[test]
fn stopping_and_going_on_in_a_hurry_is_never_having_stopped() {
    for (name, recipe) in hurried() {
        let trial = Trial::new(&recipe, &Buffered, 3, 5, 40);
        let whole = trial.run().unwrap();
        let at = whole[0].rounds.len() / 2;
        let states: Vec<_> = whole.iter().map(|rank| rank.rounds[at - 1].state.clone()).collect();
        let rest = trial.resume(&states).unwrap();
        for (whole, rest) in whole.iter().zip(&rest) {
            assert_eq!(hashes(&whole.models()[at..]), hashes(&rest.models()), "{name}");
            let left = whole.rounds[at..].iter().zip(&rest.rounds);
            assert!(left.into_iter().all(|(a, b)| resting(a) == resting(b)), "{name}");
        }
        // The control: a client that has forgotten.
        let mut emptied = states;
        for state in &mut emptied {
            state.vectors.retain(|path, _| !path.starts_with("clients/"));
        }
        if ["scaffold", "residual", "ef21", "keep"].contains(&name) {
            assert_ne!(trial.resume(&emptied).unwrap()[0].last(), whole[0].last(), "{name}");
        }
    }
}

#[test]
fn clients_are_told_the_model_and_the_server_hears_messages() {
    for participation in ["sampled(4, clients=9)", "sampled(3, clients=9, over=2)"] {
        for (name, recipe) in recipes(participation) {
            let ranks = run(&recipe, &Buffered, 3, 24);
            let mut ledger = ranks[0].ledger.clone();
            ranks[1..].iter().for_each(|rank| ledger.merge(&rank.ledger));
            let flow = |from, to, purpose: &Purpose| {
                let mut flows = ledger.flows().filter(|(l, _)| (l.from, l.to) == (from, to) && l.purpose == *purpose);
                flows.next().map_or((0, 0), |(_, flow)| (flow.messages, flow.bytes))
            };
            let rounds = ranks[0].rounds.len() as u64;
            let invited: u64 = (0..rounds).map(|round| asked(&recipe, round).len() as u64).sum();
            let heard: u64 = ranks[0].rounds.iter().map(|round| round.told.voices).sum();
            // A message is the vector and a frame of some bytes.
            for (purpose, len) in [(Purpose::Payload, 160), (Purpose::Buffers, 2)] {
                let (messages, bytes) = flow(Party::Server, Party::Clients, &purpose);
                assert_eq!(messages, invited, "{name}: {purpose}");
                assert!((4 * len * invited..(4 * len + 20) * invited).contains(&bytes), "{name}: {purpose} {bytes}");
                assert_eq!(flow(Party::Clients, Party::Server, &purpose).0, heard, "{name}: {purpose}");
            }
            let control = Purpose::Aside("control".into());
            if name == "scaffold" {
                // Nothing is known before the first round.
                let first = asked(&recipe, 0).len() as u64;
                assert_eq!(flow(Party::Server, Party::Clients, &control).0, invited - first);
                assert_eq!(flow(Party::Clients, Party::Server, &control).0, heard);
            } else {
                assert_eq!(flow(Party::Clients, Party::Server, &control), (0, 0), "{name}");
            }
            // What ranks tell one another is no training.
            assert_eq!((0..3).map(|rank| ledger.sent_by(Party::Worker(rank))).sum::<u64>(), 0, "{name}");
            let training = ledger.bytes_where(|l| l.purpose.is_training());
            assert_eq!(training, ledger.sent_by(Party::Clients) + ledger.received_by(Party::Clients), "{name}");
            assert!(ledger.bytes_where(|l| l.purpose == Purpose::Control) > 0);
        }
    }
}

#[test]
fn the_servers_variate_is_the_mean_of_all_clients_after_every_round() {
    for participation in ["sampled(3, clients=7)", "sampled(7, clients=7)", "poisson(1.5, clients=7)"] {
        let recipe = row("scaffold", &["local.batch=4", &format!("participation={participation}")]);
        let ranks = run(&recipe, &Buffered, 3, 100);
        let mut moved = 0.0f64;
        for round in 0..ranks[0].rounds.len() {
            let dim = ranks[0].start.len();
            let Some(common) = ranks[0].rounds[round].state.vectors.get("local/common") else { continue };
            let mut mean = vec![0.0f64; dim];
            for state in clients(&ranks, round).values() {
                mean.iter_mut().zip(wide(&state.vectors["control"])).for_each(|(m, c)| *m += c / 7.0);
            }
            assert!(gap(&mean, &wide(common)) < 1e-5, "round {round}: {}", gap(&mean, &wide(common)));
            moved = moved.max(gap(&mean, &vec![0.0; dim]));
        }
        assert!(moved > 0.05, "{moved}");
    }
}

/// What refuses a recipe.
fn refusal(base: &str, sets: &[&str]) -> String {
    let mut recipe = Recipe::named(base).unwrap();
    let mut all = sets.iter();
    let refused = all.try_for_each(|set| recipe.set(set)).and_then(|()| recipe.resolve(&Defaults::default()));
    let refused = refused.and_then(|()| sordino::recipe::check(&recipe)).expect_err(&sets.join(" "));
    assert_eq!(refused.kind(), sordino::base::Kind::Request);
    refused.to_string()
}

#[test]
fn what_makes_no_sense_with_clients_is_refused_with_a_cure() {
    for (base, sets, [one, other], cure) in [
        ("fedavg", &["participation.over=1.5"][..], ["participation", "fabric"], "participation.over=1"),
        ("fedavg", &["participation.deadline=3"], ["participation", "fabric"], "fabric=sim"),
        ("fedavg", &["exchange=gather"], ["participation", "exchange"], "exchange=star"),
        ("fedavg", &["exchange=reduce"], ["participation", "exchange"], "exchange=star"),
        ("fedavg", &["exchange=star(down=sign)"], ["participation", "exchange"], "exchange=star"),
        ("fedavg", &["exchange.feedback=residual"], ["participation", "exchange"], "exchange=star"),
        ("fedavg", &["aggregate=mean(by=expected)", "payload=parameters"], ["payload", "aggregate"], "displacement"),
        ("fedavg", &["buffers=local"], ["participation", "buffers"], "buffers=average"),
        ("fedavg", &["compress=sign", "feedback=residual(every=2)"], ["participation", "feedback"], "feedback.every=0"),
        ("fedavg", &["compress=sign", "feedback=residual(evaluate=mean)"], ["participation", "feedback"], "evaluate=x"),
        ("fedavg", &["local.state=average"], ["participation", "local"], "local.state=reset"),
        ("scaffold", &["aggregate=weighted"], ["local", "aggregate"], "aggregate=mean"),
        ("scaffold", &["aggregate=mean(by=expected)"], ["local", "aggregate"], "aggregate=mean"),
        (
            "scaffold",
            &["schedule=constant(1)", "payload=gradient", "local.state=keep"],
            ["local", "payload"],
            "descent",
        ),
        ("scaffold", &["optim.momentum=0.9"], ["local", "optim"], "momentum=0"),
    ] {
        let text = refusal(base, sets);
        let names = text.contains(&format!("`{one}=")) && text.contains(&format!("`{other}="));
        assert!(names && text.rsplit_once(';').is_some_and(|(_, c)| c.contains(cure)), "{sets:?}: {text}");
    }
    // The cures of haste cure.
    row("fedavg", &["participation.over=1.5", "participation.deadline=3", "fabric=sim"]);
    row("fedavg", &["participation.over=1", "participation.deadline=none"]);
}
