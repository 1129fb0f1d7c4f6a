//! Stop, save, load, go is go.

use sordino::base::Kind;
use sordino::testing::{Rank, Trial};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, hashes, neutral, quadratic, row, tried};

#[test]
fn stopping_in_the_middle_and_going_on_is_never_having_stopped() {
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 4, 5, 40);
        let whole = trial.run().unwrap();
        let rounds = whole[0].rounds.len();
        for at in [1, rounds / 2, rounds - 1] {
            if at == 0 {
                continue;
            }
            let states: Vec<_> = whole.iter().map(|r| r.rounds[at - 1].state.clone()).collect();
            let rest = trial.resume(&states).unwrap();
            for (whole, rest) in whole.iter().zip(&rest) {
                let left: Vec<_> = whole.models()[at..].to_vec();
                assert_eq!(hashes(&rest.models()), hashes(&left), "{name}, stopped after round {at}");
                for (a, b) in whole.rounds[at..].iter().zip(&rest.rounds) {
                    assert_eq!(a.state, b.state, "{name}, stopped after round {at}");
                    assert_eq!(a.buffers, b.buffers);
                    // As text: who has not spoken has a loss that is no number.
                    assert_eq!(format!("{:?}", a.told), format!("{:?}", b.told), "{name}, stopped after round {at}");
                }
            }
        }
    }
}

#[test]
fn stopping_and_going_on_moves_no_more_bytes_of_training() {
    for (name, recipe) in rows_and_mixes() {
        let trial = Trial::new(&recipe, tried(&recipe), 3, 5, 24);
        let (whole, first) = (trial.run().unwrap(), Trial { rounds: 1, ..trial }.run().unwrap());
        let states: Vec<_> = first.iter().map(|r| r.rounds[0].state.clone()).collect();
        let rest = trial.resume(&states).unwrap();
        for ((whole, first), rest) in whole.iter().zip(&first).zip(&rest) {
            let bytes = |rank: &Rank| rank.ledger.bytes_where(|l| l.purpose.is_training());
            assert_eq!(bytes(first) + bytes(rest), bytes(whole), "{name}");
        }
    }
}

#[test]
fn a_state_that_lacks_what_a_method_remembers_does_not_go_on_as_if_never_stopped() {
    let recipe = row("ef-sgd", &["optim.momentum=0.9"]);
    let trial = Trial::new(&recipe, &Buffered, 4, 5, 20);
    let whole = trial.run().unwrap();
    for path in ["feedback/residual", "exchange/residual", "optim/0/momentum"] {
        let states: Vec<_> = whole
            .iter()
            .map(|r| {
                let mut state = r.rounds[9].state.clone();
                state.vectors.remove(path);
                state
            })
            .collect();
        assert!(states.iter().zip(&whole).any(|(s, w)| *s != w.rounds[9].state), "{path} is remembered");
        assert_ne!(trial.resume(&states).unwrap()[0].last(), whole[0].last(), "{path}");
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let (recipe, small) = (row("clip21", &[]), quadratic());
    let states: Vec<_> = run(&recipe, &Buffered, 2, 3).iter().map(|r: &Rank| r.rounds[2].state.clone()).collect();
    let error = Trial::new(&recipe, &small, 2, 5, 8).resume(&states).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
}

#[test]
fn every_kind_of_memory_is_in_the_checkpoint() {
    let names = |sets: &[&str]| {
        let ranks = run(&neutral(sets), &Buffered, 2, 6);
        ranks[0].rounds.last().unwrap().state.vectors.keys().cloned().collect::<Vec<_>>()
    };
    let star = names(&[
        "optim=sgd(momentum=0.9)",
        "compress=topk(0.1)",
        "feedback=residual",
        "exchange=star(down=sign, feedback=residual)",
        "outer=momentum(0.5)",
    ]);
    for path in ["model", "buffers", "optim/0/momentum", "feedback/residual", "exchange/residual", "outer/0/0/momentum"]
    {
        assert!(star.iter().any(|n| n == path), "{path} is not in {star:?}");
    }
    let ef21 = names(&["optim=adamw", "compress=topk(0.1)", "feedback=ef21", "outer=adam"]);
    for path in ["optim/0/first", "optim/0/second", "feedback/shift", "feedback/mean_shift", "outer/0/first"] {
        assert!(ef21.iter().any(|n| n == path), "{path} is not in {ef21:?}");
    }
}
