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

/// A caller's steps: plain descent, or for raw gradients a step on what was agreed.
struct Hand {
    workload: Box<dyn Workload>,
    rates: fn(u64) -> f64,
    step: u64,
    at: Vec<f32>,
    /// What the steps of the round add up to.
    sum: Vec<f32>,
    gradient: Vec<f32>,
}

impl Hand {
    fn pace(&self) -> Pace {
        Pace { rate: (self.rates)(self.step), warming: false, most: None }
    }

    fn step(&mut self, session: &mut Session) -> Result<()> {
        let client = session.worker().rank() as u64;
        let draw = Draw { seed: 5, client, step: self.step, batch: Batch::Rows(1) };
        self.workload.gradient(&self.at, session.worker().buffers_mut(), &draw, &mut self.gradient)?;
        if session.worker().payload() != Payload::Gradient {
            flat::scale(&mut self.gradient, (self.rates)(self.step) as f32);
            flat::subtract(&mut self.at, &self.gradient);
        }
        flat::add(&mut self.sum, &self.gradient);
        self.step += 1;
        Ok(())
    }
}

/// The whole run by a caller's own hand; where words are late it hears them after `patience` steps, if not before.
fn by_hand(
    mut session: Session,
    workload: Box<dyn Workload>,
    rates: fn(u64) -> f64,
    patience: u64,
) -> Result<Vec<Vec<f32>>> {
    let len = session.worker().model().len();
    let mut hand = Hand { workload, rates, step: 0, at: Vec::new(), sum: vec![0.0; len], gradient: vec![0.0; len] };
    let (mut models, mut made, mut total) = (Vec::new(), 0, 0);
    while !session.done() {
        session.begin()?;
        hand.at = session.worker().point().to_vec();
        let began = hand.at.clone();
        if session.worker().payload() != Payload::Gradient {
            flat::subtract(&mut hand.at, &hand.sum);
        }
        let first = hand.step - made;
        let silence = session.pace(Pace { rate: rates(first), ..hand.pace() })?;
        while made < silence {
            hand.step(&mut session)?;
            made += 1;
        }
        total += silence;
        let mut sum = std::mem::replace(&mut hand.sum, vec![0.0; len]);
        match session.worker().payload() {
            Payload::Parameters => session.worker().point().copy_from_slice(&hand.at),
            Payload::Displacement => session.worker().offer().copy_from_slice(&sum),
            Payload::Gradient => {
                flat::divide(&mut sum, silence as f32);
                session.worker().offer().copy_from_slice(&sum);
            }
        }
        made = 0;
        if session.worker().total() == Some(total) {
            session.close_after(silence, 0)?;
        } else {
            session.speak_after(silence, 0)?;
            let (ahead, mut heard) = (session.pace_ahead(hand.pace())?, false);
            while made < ahead {
                if made == patience {
                    session.hear()?;
                    heard = true;
                }
                hand.step(&mut session)?;
                made += 1;
                session.progress()?;
            }
            if !heard {
                session.hear()?;
            }
        }
        if session.worker().payload() == Payload::Gradient {
            let rate = rates(first) as f32;
            let update: Vec<f32> = session.worker().update().iter().map(|g| g * rate).collect();
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
        let hand =
            trial.with(|port| Box::new(port), |session, workload| by_hand(session, workload, |_| RATE, 0)).unwrap();
        for (rank, models) in run.iter().zip(&hand) {
            assert_eq!(rank.rounds.len(), models.len(), "{name}");
            for (ours, theirs) in rank.rounds.iter().zip(models) {
                assert_eq!(&ours.model, theirs, "{name}, round {}", ours.told.rounds);
            }
        }
        let other = trial.with(|port| Box::new(port), |session, workload| by_hand(session, workload, |_| 0.08, 0));
        assert_ne!(other.unwrap()[0].last().unwrap(), run[0].last(), "{name}: the caller's rate is the caller's");
    }
}

#[test]
fn steps_that_a_caller_makes_while_words_travel_are_those_that_ours_would_be() {
    let fixed = ["optim.rate=0.07", "optim.momentum=0", "local.batch=1"];
    let cases: &[(&str, &[&str])] = &[
        ("local-sgd", &["schedule.every=4", "staleness=delayed(3)"]),
        ("local-sgd", &["schedule.every=3", "staleness=delayed(9)", "exchange=reduce"]),
        (
            "local-sgd",
            &["schedule.every=4", "staleness=delayed(2)", "payload=displacement(fragments=2)", "feedback=residual"],
        ),
        ("diloco", &["schedule.every=5", "staleness=delayed(2)", "compress=orq(5)", "exchange=two_phase", "optim=sgd"]),
        ("saef", &["schedule.every=4", "staleness=delayed(2)"]),
        ("sync-sgd", &["staleness=delayed"]),
        ("qsr", &["schedule.base=2", "schedule.alpha=0.2", "staleness=delayed(3)"]),
    ];
    for (name, sets) in cases {
        let ours = row(name, &[sets, &fixed[..], &["buffers=local"]].concat());
        let trial = Trial::new(&ours, &Buffered, 3, 5, 25);
        let run = trial.run().unwrap();
        // Heard at the last moment, in between, or before the first of the steps made ahead.
        for patience in [u64::MAX, 1, 0] {
            let by = |session, workload| by_hand(session, workload, |_| RATE, patience);
            let hand = trial.with(|port| Box::new(port), by).unwrap();
            for (rank, models) in run.iter().zip(&hand) {
                assert_eq!(rank.rounds.len(), models.len(), "{name}");
                for (ours, theirs) in rank.rounds.iter().zip(models) {
                    assert_eq!(&ours.model, theirs, "{name}, {patience}, round {}", ours.told.rounds);
                }
            }
        }
    }
}

#[test]
fn nothing_else_is_said_while_words_are_on_their_way() {
    let recipe = neutral(&["schedule.every=4", "staleness=delayed(2)"]);
    let refused = Trial::new(&recipe, &Buffered, 2, 5, 12)
        .with(
            |port| Box::new(port),
            |mut session, _| {
                let pace = Pace { rate: 0.1, warming: false, most: None };
                let deaf = session.hear().unwrap_err();
                session.begin()?;
                session.pace(pace)?;
                session.speak_after(4, 0)?;
                let mut vector = [0.0];
                let errors = [
                    session.begin().unwrap_err(),
                    session.pace(pace).unwrap_err(),
                    session.speak_after(4, 0).unwrap_err(),
                    session.average(&Purpose::Evaluate, &mut vector).unwrap_err(),
                    session.broadcast(&Purpose::Control, &mut vector).unwrap_err(),
                ];
                assert_eq!(session.pace_ahead(pace)?, 2);
                assert_eq!(session.pace_ahead(Pace { most: Some(1), ..pace })?, 1);
                session.hear()?;
                assert_eq!(session.pace_ahead(pace)?, 2, "heard or not");
                for _ in 0..2 {
                    session.begin()?;
                    session.pace(pace)?;
                    session.speak_after(4, 0)?;
                    let left = session.worker().position().1 < 8;
                    assert_eq!(
                        session.pace_ahead(pace)?,
                        if left { 2 } else { 0 },
                        "a run's last round has no next one"
                    );
                    session.hear()?;
                }
                Ok((deaf, errors))
            },
        )
        .unwrap();
    for (deaf, errors) in refused {
        assert!(deaf.to_string().contains("speak_after"), "{deaf}");
        assert!(errors.iter().all(|error| error.to_string().contains("`hear`")), "{errors:?}");
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
