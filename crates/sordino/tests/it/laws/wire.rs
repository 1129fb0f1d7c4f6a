//! What moves: counted where it moves, believed only whole.

use std::sync::Arc;
use std::time::Duration;

use sordino::Result;
use sordino::base::{Error, Kind, Party, Purpose};
use sordino::engine::{Session, Worker};
use sordino::fabric::{Fault, Faulty, Metered, Still, connect, on_threads};
use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};
use sordino::workload::{Task, Workload};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, Count, Onlooker, hashes, neutral, quadratic, row, tried};

#[test]
fn the_ledger_is_the_sum_of_the_lengths_of_the_messages() {
    for (name, recipe) in rows_and_mixes() {
        let (sent, received, told) = (Count::default(), Count::default(), Count::default());
        let trial = Trial::new(&recipe, tried(&recipe), 3, 5, 12);
        let ranks = trial
            .over(|inner| {
                let inner = Metered::new(inner, Arc::new(Still));
                Box::new(Onlooker { inner, sent: sent.clone(), received: received.clone(), told: told.clone() })
            })
            .unwrap();
        let mut all = ranks[0].ledger.clone();
        ranks[1..].iter().for_each(|r| all.merge(&r.ledger));
        let mut seen = sent.lock().unwrap().clone();
        assert_eq!(seen, *received.lock().unwrap(), "{name}: what is sent is received");
        for (parties, (messages, bytes)) in told.lock().unwrap().iter() {
            let entry = seen.entry(*parties).or_default();
            *entry = (entry.0 + messages, entry.1 + bytes);
        }
        for (parties, (messages, bytes)) in &seen {
            let of = |flows: &mut dyn Iterator<Item = (u64, u64)>| {
                flows.fold((0, 0), |sum, flow| (sum.0 + flow.0, sum.1 + flow.1))
            };
            let mut flows =
                all.flows().filter(|(l, _)| (l.from, l.to) == *parties).map(|(_, flow)| (flow.messages, flow.bytes));
            assert_eq!(of(&mut flows), (*messages, *bytes), "{name}: {parties:?}");
        }
        assert_eq!(all.bytes_where(|_| true), seen.values().map(|(_, bytes)| bytes).sum::<u64>(), "{name}");
        assert_eq!(all.bytes_where(|l| l.purpose == Purpose::Evaluate), 0, "{name}: nobody evaluated");
        // Ranks compare what they are about, once, and training's bytes are the rest; ranks that play clients tell one
        // another what the server found besides.
        let control = all.bytes_where(|l| l.purpose == Purpose::Control);
        if recipe.participation().unwrap().federated() {
            assert_eq!(
                control + all.sent_by(Party::Clients) + all.received_by(Party::Clients),
                all.bytes_where(|_| true)
            );
        } else {
            assert!((1..300).contains(&control), "{name}: {control}");
        }
    }
}

#[test]
fn every_purpose_is_counted_under_its_name() {
    let bytes = |sets: &[&str], purpose: &Purpose| {
        let ranks = run(&neutral(sets), &Buffered, 3, 12);
        ranks.iter().map(|r| r.ledger.bytes_where(|l| l.purpose == *purpose)).sum::<u64>()
    };
    let share = ["compress=topk(0.1)", "feedback=residual(lambda=1, every=3)"];
    // Four rounds of twelve share 160 numbers: two thirds of them twice from every rank, and a frame a message.
    let dense = 4 * 4 * 160 * 2 * 2;
    let shared = bytes(&share, &Purpose::Residual);
    assert!((dense..dense + 4 * 12 * 12).contains(&shared), "{shared} for {dense}");
    assert_eq!(bytes(&share[..1], &Purpose::Residual), 0);
    assert!(bytes(&["aggregate=weighted"], &Purpose::Aside("weight".into())) > 0);
    assert!(bytes(&["optim=adamw", "local.state=average"], &Purpose::Aside("moments".into())) > 0);
    assert!(bytes(&[], &Purpose::Buffers) > 0);
    assert_eq!(bytes(&["buffers=local"], &Purpose::Buffers), 0);
}

#[test]
fn few_bytes_are_few_bytes() {
    let sent =
        |name: &str, sets: &[&str]| run(&row(name, sets), &quadratic(), 4, 64)[1].ledger.sent_by(Party::Worker(1));
    let sync = sent("sync-sgd", &[]);
    assert!(sent("local-sgd", &[]) * 7 < sync && sent("celgc", &[]) * 7 < sync);
    // One bit an entry, a scale and a frame against 2(N - 1)/N numbers an entry.
    assert!(sent("ef-sgd", &["buffers=local"]) * 10 < sync);
    assert!(sent("def", &[]) * 5 < sync);
    assert!(sent("bingrad-b", &["exchange=star"]) * 10 < sync);
}

#[test]
fn what_a_rank_sends_and_receives_is_what_the_formulas_say_for_two_to_thirty_two_ranks() {
    let entries = 64 * 64;
    let task = sordino::workload::Quadratic { dim: entries, ..quadratic() };
    // A bit an entry and a scale a bucket, or the entries themselves.
    let (coded, dense) = (entries / 64 * 12, 4 * entries);
    for ranks in [2, 4, 8, 16, 32] {
        let others = ranks - 1;
        for (code, exchange, body, messages) in [
            ("sign(scope=bucket(64))", "gather", others * coded, others),
            ("sign(scope=bucket(64))", "two_phase", 2 * others * coded / ranks, 2 * others),
            ("sign(scope=bucket(64))", "two_phase(down=dense)", others * (coded + dense) / ranks, 2 * others),
            ("sign(scope=bucket(64))", "gather(piece=1024)", others * coded, 4 * others),
            ("dense", "gather", others * dense, others),
            ("dense", "reduce", 2 * others * dense / ranks, 2 * others),
            ("dense", "reduce(piece=64)", 2 * others * dense / ranks, 2 * others * 64 / ranks),
            ("dense", "two_phase", 2 * others * dense / ranks, 2 * others),
        ] {
            let recipe = neutral(&[&format!("compress={code}"), &format!("exchange={exchange}")]);
            let told = Trial::new(&recipe, &task, ranks, 5, 1).run().unwrap();
            let mut all = told[0].ledger.clone();
            told[1..].iter().for_each(|rank| all.merge(&rank.ledger));
            for rank in 0..ranks {
                let (mut sent, mut received) = ((0, 0), 0);
                for (link, flow) in all.flows().filter(|(link, _)| link.purpose == Purpose::Payload) {
                    if link.from == Party::Worker(rank) {
                        sent = (sent.0 + flow.messages as usize, sent.1 + flow.bytes as usize);
                    }
                    received += if link.to == Party::Worker(rank) { flow.bytes as usize } else { 0 };
                }
                assert_eq!(sent.0, messages, "{code} {exchange}, {ranks} ranks");
                // Round, silence, flags, length, number, checksum.
                for bytes in [sent.1, received] {
                    let frames = bytes - body;
                    assert!(
                        (8 * messages..=11 * messages).contains(&frames),
                        "{code} {exchange}, {ranks}: {bytes} {body}"
                    );
                }
            }
        }
    }
}

/// Rounds until an error: the hashes of the models that every rank held, and the first error that is a cause.
fn until_error(trial: &Trial, fault: Fault, seed: u64) -> (Vec<Vec<u64>>, Option<Error>) {
    let held: Vec<_> = (0..trial.workers).map(|_| std::sync::Mutex::new(Vec::new())).collect();
    let done = trial.with(
        |port| Box::new(Faulty::new(port.patient(Duration::from_secs(20)), fault, seed)),
        |mut session: Session, mut workload: Box<dyn Workload>| {
            let rank = session.everyone()?.rank();
            while !session.done() {
                session.round(&mut *workload, 0)?;
                held[rank].lock().unwrap().extend(hashes(&[session.worker().model()]));
            }
            // Who is done stays until all are: a repeated last word is not sent to somebody who has left.
            Ok(session)
        },
    );
    (held.into_iter().map(|h| h.into_inner().unwrap()).collect(), done.err())
}

#[test]
fn damage_on_the_way_is_an_error_and_never_a_wrong_model() {
    let faults = [
        Fault { flip: 0.02, ..Fault::default() },
        Fault { truncate: 0.02, ..Fault::default() },
        Fault { flip: 1.0, ..Fault::default() },
        Fault { truncate: 1.0, ..Fault::default() },
        Fault { flip: 0.1, truncate: 0.1, ..Fault::default() },
        Fault { repeat: 0.05, ..Fault::default() },
        Fault { repeat: 0.3, ..Fault::default() },
    ];
    let mut survived = 0;
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 3, 5, 16);
        // Every rank's own: the model, or its blocks of it.
        let own = |rank: &Rank| -> Vec<u64> {
            let models = &rank.models()[1..];
            match &rank.seat {
                None => hashes(models),
                Some(seat) => models.iter().flat_map(|model| hashes(&[&seat.share(model)])).collect(),
            }
        };
        let clean: Vec<Vec<u64>> = trial.run().unwrap().iter().map(own).collect();
        for (seed, fault) in faults.into_iter().enumerate() {
            let (held, error) = until_error(&trial, fault, seed as u64);
            for (models, clean) in held.iter().zip(&clean) {
                assert_eq!(*models, clean[..models.len()], "{name}, {fault:?}");
            }
            survived += usize::from(error.is_none());
            match error {
                None => assert!(held.iter().all(|models| models.len() == clean[0].len())),
                // A repeated word is read where another was due, of another round or another rank's part, or comes to a
                // rank that is done and has left.
                Some(e) if fault.repeat > 0.0 => {
                    assert!([Kind::Mismatch, Kind::Timeout].contains(&e.kind()), "{name}, {fault:?}: {e}");
                }
                Some(e) => assert_eq!(e.kind(), Kind::Decode, "{name}, {fault:?}: {e}"),
            }
        }
    }
    assert!(survived < 60, "the faults hardly ever struck: {survived}");
}

/// Two ranks with recipes, tasks and seeds of their own, for some rounds: the first error that is a cause.
fn at_odds(recipes: [&Recipe; 2], tasks: [&dyn Task; 2], seeds: [u64; 2]) -> Result<Vec<()>> {
    on_threads(connect(2), |port| {
        let rank = sordino::fabric::Port::rank(&port);
        let mut workload = tasks[rank].workload(2, seeds[rank])?;
        let parts = recipes[rank].build(Arc::new(Still))?;
        let worker = Worker::new(parts, &*workload, seeds[rank], rank, 2, Some(24));
        let mut session = Session::new(worker, Box::new(port.patient(Duration::from_secs(20))));
        while !session.done() {
            session.round(&mut *workload, 0)?;
        }
        Ok(())
    })
}

#[test]
fn ranks_with_different_recipes_find_out_before_the_first_word() {
    let task = quadratic();
    let plain = ["exchange=reduce", "optim=sgd(rate=0.1, momentum=0.9)"];
    let first = neutral(&plain);
    for other in [
        "schedule.every=2",
        "schedule=growing",
        "exchange=gather",
        "exchange=star",
        "compress=block(0.2)",
        "aggregate=weighted",
        // These speak at the same times in messages of the same lengths.
        "optim.rate=0.11",
        "optim.momentum=0.8",
        "outer=momentum(0.1)",
        "local.batch=full",
        "feedback=residual",
    ] {
        let second = neutral(&[&plain[..], &[other]].concat());
        let error = at_odds([&first, &second], [&task, &task], [5, 5]).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch, "{other}: {error}");
        assert!(error.to_string().contains("rank 1 has another recipe"), "{other}: {error}");
    }
    let error = at_odds([&first, &first], [&task, &task], [5, 6]).unwrap_err();
    assert!(error.to_string().contains("another seed"), "{error}");
    let error = at_odds([&first, &first], [&task, &Buffered], [5, 5]).unwrap_err();
    assert!(error.kind() == Kind::Mismatch && error.to_string().contains("another model"), "{error}");
    at_odds([&first, &first], [&task, &task], [5, 5]).unwrap();
}

#[test]
fn ranks_that_go_on_from_different_checkpoints_find_out() {
    let (recipe, task) = (row("saef", &["optim.momentum=0.9"]), quadratic());
    let trial = Trial::new(&recipe, &task, 3, 5, 12);
    let whole = trial.run().unwrap();
    let states = |rounds: [usize; 3]| [0, 1, 2].map(|rank| whole[rank].rounds[rounds[rank]].state.clone());
    let error = trial.resume(&states([4, 4, 5])).unwrap_err();
    assert!(error.kind() == Kind::Mismatch && error.to_string().contains("rank 2 has another round"), "{error}");
    trial.resume(&states([4, 4, 4])).unwrap();
}
