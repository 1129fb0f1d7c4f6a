//! A caller that makes its own steps gets the run that our own steps would have made.

use sordino::base::{Purpose, flat};
use sordino::engine::{Pace, Session};
use sordino::payload::Payload;
use sordino::recipe::Recipe;
use sordino::testing::Trial;
use sordino::workload::{Batch, Draw, Workload};
use sordino::{Error, Result};

use crate::worlds::{Buffered, neutral, row};

const RATE: f64 = 0.07;

/// The rate of every step: it falls, so that schedules have something to go by.
fn rate(step: u64) -> f64 {
    RATE / (1.0 + step as f64 / 8.0)
}

/// The whole run by a caller's own hand: plain descent, or for raw gradients a step on what was agreed.
fn by_hand(mut session: Session, mut workload: Box<dyn Workload>, rates: fn(u64) -> f64) -> Result<Vec<Vec<f32>>> {
    let (client, len) = (session.worker().rank() as u64, session.worker().model().len());
    let (mut gradient, mut models, mut step) = (vec![0.0; len], Vec::new(), 0);
    while !session.done() {
        session.begin()?;
        let mut at = session.worker().point().to_vec();
        let began = at.clone();
        let mut sum = vec![0.0; len];
        let silence = session.pace(Pace { rate: rates(step), warming: false, most: None })?;
        for _ in 0..silence {
            let draw = Draw { seed: 5, client, step, batch: Batch::Rows(1) };
            workload.gradient(&at, session.worker().buffers_mut(), &draw, &mut gradient)?;
            if session.worker().payload() == Payload::Gradient {
                flat::add(&mut sum, &gradient);
            } else {
                flat::scale(&mut gradient, rates(step) as f32);
                flat::subtract(&mut at, &gradient);
                flat::add(&mut sum, &gradient);
            }
            step += 1;
        }
        match session.worker().payload() {
            Payload::Parameters => session.worker().point().copy_from_slice(&at),
            Payload::Displacement => session.worker().offer().copy_from_slice(&sum),
            Payload::Gradient => {
                flat::divide(&mut sum, silence as f32);
                session.worker().offer().copy_from_slice(&sum);
            }
        }
        session.close_after(silence, 0)?;
        if session.worker().payload() == Payload::Gradient {
            let first = rates(step - silence) as f32;
            let update: Vec<f32> = session.worker().update().iter().map(|g| g * first).collect();
            let mut model = began;
            flat::subtract(&mut model, &update);
            session.worker().place(&model)?;
        }
        models.push(session.worker().model().to_vec());
    }
    Ok(models)
}

#[test]
fn a_callers_own_descent_is_the_run_that_ours_would_be() {
    let fixed = ["optim.rate=0.07", "local.batch=1"];
    let cases: &[(&str, &[&str])] = &[
        ("local-sgd", &["schedule.every=3"]),
        ("sync-sgd", &[]),
        ("saef", &[]),
        ("def", &[]),
        ("ef-sgd", &[]),
        ("orq", &[]),
        ("qsgd", &[]),
        ("local-sgd", &["schedule.every=4", "outer=momentum(0.5, nesterov=true)"]),
        ("qsr", &["schedule.base=2", "schedule.alpha=0.2", "buffers=average"]),
    ];
    for (name, sets) in cases {
        let ours = row(name, &[sets, &fixed[..], &["optim.momentum=0"]].concat());
        let trial = Trial::new(&ours, &Buffered, 3, 5, 25);
        let run = trial.run().unwrap();
        let hand = trial.with(|port| Box::new(port), |session, workload| by_hand(session, workload, |_| RATE)).unwrap();
        for (rank, models) in run.iter().zip(&hand) {
            assert_eq!(rank.rounds.len(), models.len(), "{name}");
            for (ours, theirs) in rank.rounds.iter().zip(models) {
                assert_eq!(&ours.model, theirs, "{name}, round {}", ours.told.rounds);
            }
        }
        let other = trial.with(|port| Box::new(port), |session, workload| by_hand(session, workload, |_| 0.08));
        assert_ne!(other.unwrap()[0].last().unwrap(), run[0].last(), "{name}: the caller's rate is the caller's");
    }
}

#[test]
fn the_callers_rate_drives_the_schedule_and_the_last_round_may_be_cut_short() {
    let recipe = row("qsr", &["schedule.base=1", "schedule.alpha=0.2", "optim.momentum=0", "buffers=average"]);
    let silences = |most: Option<u64>| {
        Trial::new(&recipe, &Buffered, 2, 5, 60)
            .with(
                |port| Box::new(port),
                |mut session, _| {
                    let (mut silences, mut step) = (Vec::new(), 0);
                    while !session.done() {
                        session.begin()?;
                        let silence = session.pace(Pace { rate: rate(step), warming: false, most })?;
                        // The caller comes to its end in the middle of the sixth round.
                        let made = if silences.len() == 5 { silence.div_ceil(2) } else { silence };
                        session.close_after(made, 0)?;
                        step += made;
                        assert_eq!(session.worker().position().1, step);
                        silences.push(silence);
                    }
                    Ok(silences)
                },
            )
            .unwrap()
            .remove(0)
    };
    let free = silences(None);
    let steps: Vec<u64> = free.iter().enumerate().map(|(i, h)| if i == 5 { h.div_ceil(2) } else { *h }).collect();
    assert_eq!(steps.iter().sum::<u64>(), 60);
    let mut step = 0;
    for (round, (silence, made)) in free.iter().zip(&steps).enumerate() {
        let wanted = if round == 0 { 1 } else { ((0.2 / rate(step)).powi(2).trunc() as u64).max(1) };
        assert_eq!(*silence, wanted.min(60 - step), "round {round} at step {step}");
        step += made;
    }
    assert!(free.iter().max() > Some(&10), "{free:?}");
    assert!(silences(Some(3)).iter().all(|silence| *silence <= 3));
}

#[test]
fn what_a_caller_cannot_step_by_itself_is_refused_by_name() {
    let refused = |recipe: &Recipe, with: fn(&mut Session) -> Result<()>| -> Error {
        let trial = Trial::new(recipe, &Buffered, 1, 5, 8);
        trial.with(|port| Box::new(port), |mut session, _| with(&mut session)).unwrap_err()
    };
    let begins = |sets: &[&str]| refused(&neutral(sets), Session::begin).to_string();
    assert!(begins(&["local=descent(prox=0.1)"]).contains("local=descent"));
    assert!(begins(&["participation=sampled(2, clients=4)", "exchange=star"]).contains("participation=everyone"));
    let plain = neutral(&["schedule.every=4"]);
    let early = refused(&plain, |session| session.pace(Pace { rate: 0.1, warming: false, most: None }).map(drop));
    assert!(early.to_string().contains("begin"), "{early}");
    let unpaced = refused(&plain, |session| session.begin().and_then(|()| session.close_after(1, 0).map(drop)));
    assert!(unpaced.to_string().contains("pace"), "{unpaced}");
    let long = refused(&plain, |session| {
        session.begin()?;
        session.pace(Pace { rate: 0.1, warming: false, most: None })?;
        session.close_after(5, 0).map(drop)
    });
    assert!(long.to_string().contains("4 silent steps"), "{long}");
    let rate = refused(&plain, |session| {
        session.begin()?;
        session.pace(Pace { rate: f64::NAN, warming: false, most: None }).map(drop)
    });
    assert!(rate.to_string().contains("NaN"), "{rate}");
}

#[test]
fn a_caller_averages_and_broadcasts_what_it_likes() {
    let recipe = neutral(&[]);
    let told = Trial::new(&recipe, &Buffered, 3, 5, 8)
        .with(
            |port| Box::new(port),
            |mut session, _| {
                let mine = session.worker().rank() as f32;
                let (mut mean, mut root) = (vec![mine, 3.0 * mine], vec![mine + 7.0]);
                session.average(&Purpose::Evaluate, &mut mean)?;
                session.broadcast(&Purpose::Control, &mut root)?;
                Ok((mean, root))
            },
        )
        .unwrap();
    assert!(told.iter().all(|t| *t == (vec![1.0, 3.0], vec![7.0])), "{told:?}");
}
