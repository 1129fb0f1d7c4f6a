use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{Error, Kind};

fn tag() -> Tag {
    Tag::across(Purpose::Payload)
}

#[test]
fn words_arrive_in_order_and_are_counted_where_they_move() {
    let ports: Vec<_> = connect(3).into_iter().map(|p| Metered::new(p, Arc::new(Still))).collect();
    let ledgers = on_threads(ports, |mut port| {
        let me = port.rank();
        for n in 1..=5u8 {
            for to in (0..3).filter(|to| *to != me) {
                port.send(to, &tag(), &vec![me as u8; n as usize])?;
            }
        }
        let mut word = Vec::new();
        for n in 1..=5usize {
            for from in (0..3).filter(|from| *from != me) {
                port.receive(from, &tag(), &mut word)?;
                assert_eq!(word, vec![from as u8; n]);
            }
        }
        Ok(port.meter().unwrap().ledger.clone())
    })
    .unwrap();
    let mut all = ledgers[0].clone();
    ledgers[1..].iter().for_each(|l| all.merge(l));
    assert_eq!(all.busiest(3, None), (30, 30));
    assert_eq!(all.flows().map(|(_, f)| f.messages).sum::<u64>(), 30);
}

#[test]
fn both_pieces_of_work_are_done_at_once() {
    let (question, asked) = std::sync::mpsc::channel();
    let (answer, answered) = std::sync::mpsc::channel();
    let patience = Duration::from_mins(1);
    // Each waits for the other: one after the other they would wait in vain.
    let mut met = [false; 2];
    let [one, two] = &mut met;
    at_once(
        &mut move || {
            question.send(()).unwrap();
            *one = answered.recv_timeout(patience).is_ok();
        },
        &mut move || {
            *two = asked.recv_timeout(patience).is_ok();
            answer.send(()).unwrap();
        },
    );
    assert_eq!(met, [true; 2]);
}

#[test]
fn a_lost_word_is_a_timeout_and_a_lost_rank_is_named() {
    let mut ports = connect(2);
    let silent = ports.pop().unwrap();
    let port = ports.pop().unwrap().patient(Duration::from_millis(20));
    let mut lossy = Faulty::new(silent, Fault { drop: 1.0, ..Fault::default() }, 1);
    lossy.send(0, &tag(), &[1, 2, 3]).unwrap();
    let mut port = port;
    let error = port.receive(1, &tag(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    drop(lossy);
    let error = port.receive(1, &tag(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("rank 1 has left"), "{error}");
}

#[test]
fn the_cause_is_reported_and_not_its_consequence() {
    let error = on_threads(connect(2), |mut port| {
        if port.rank() == 1 {
            return Err(Error::request("the cause"));
        }
        port.receive(1, &tag(), &mut Vec::new())
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "the cause");
}

#[test]
fn faults_are_replayed_from_the_seed() {
    let harm = |seed| {
        let mut ports = connect(2);
        let mut to = ports.pop().unwrap();
        let mut from = Faulty::new(ports.pop().unwrap(), Fault { flip: 0.5, truncate: 0.5, ..Fault::default() }, seed);
        (0..20u8)
            .map(|n| {
                from.send(1, &tag(), &[n; 8]).unwrap();
                let mut word = Vec::new();
                to.receive(0, &tag(), &mut word).unwrap();
                word
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(harm(3), harm(3));
    assert_ne!(harm(3), harm(4));
}
