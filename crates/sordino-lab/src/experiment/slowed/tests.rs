use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sordino::base::flat;
use sordino::fabric::Still;
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Chain, Deal, Made, Ridge, Task};

use super::super::{Ended, Nobody, Plan, arrivals, run};
use super::*;

/// A clock that notes what it hears, and goes on by a second whenever it is looked at.
#[derive(Default)]
struct Fake {
    heard: Mutex<Vec<(u64, u64, f64, f64)>>,
    now: AtomicU64,
}

impl Clock for Fake {
    fn now(&self) -> f64 {
        self.now.fetch_add(1, Ordering::Relaxed) as f64
    }

    fn cpu(&self) -> f64 {
        3.0
    }

    fn worked(&self, client: u64, round: u64, steps: Range<u64>, seconds: f64) {
        self.heard.lock().unwrap().push((client, round, (steps.end - steps.start) as f64, seconds));
    }

    fn laboured(&self, worker: u64, step: u64, fraction: f64, seconds: f64) {
        self.heard.lock().unwrap().push((worker, step, fraction, seconds));
    }

    fn reports(&self, _: u64, asked: &[Trip]) -> Option<Vec<f64>> {
        Some(vec![0.5; asked.len()])
    }
}

#[test]
fn the_last_clients_sleep_in_proportion_to_what_they_worked_and_nobody_else() {
    let (inner, slept) = (Arc::new(Fake::default()), Mutex::new(Vec::new()));
    let slow = Slow { count: 2, factor: 4.0 };
    let sleep = |seconds| slept.lock().unwrap().push(seconds);
    let clock = Slowed { inner: inner.clone(), slow, clients: 5, sleep };
    for client in 0..6 {
        clock.worked(client, 9, 0..200, 0.25);
    }
    assert_eq!(*slept.lock().unwrap(), [0.75, 0.75], "clients 3 and 4; a server that is no client is not slow");
    clock.laboured(4, 1, 0.5, 2.0);
    clock.laboured(0, 1, 0.5, 2.0);
    clock.worked(4, 10, 0..200, 0.0);
    assert_eq!(*slept.lock().unwrap(), [0.75, 0.75, 6.0], "and never where no time passes");
    assert_eq!([clock.now(), clock.now(), clock.cpu()], [0.0, 1.0, 3.0]);
    let trip = Trip { client: 0, steps: 1, down: 1, up: 1 };
    assert_eq!(clock.reports(0, &[trip]), Some(vec![0.5]));
    let heard = inner.heard.lock().unwrap();
    assert_eq!(heard.len(), 9, "the clock beneath hears of all work");
    assert_eq!((heard[0], heard[6]), ((0, 9, 200.0, 0.25), (4, 1, 0.5, 2.0)));
}

#[test]
fn more_slow_clients_than_there_are_is_all_of_them_and_none_is_the_clock_itself() {
    let slow = Slow { count: 9, factor: 3.0 };
    assert!((0..4).all(|client| slow.times(client, 4) == 3.0) && slow.times(4, 4) == 1.0);
    let clock: Arc<dyn Clock> = Arc::new(Still);
    assert!(Arc::ptr_eq(&slowed(&clock, Slow { count: 0, factor: 5.0 }, 4), &clock));
}

/// Real seconds.
struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

#[allow(clippy::disallowed_methods, reason = "threads are really slowed here; nothing is asserted of seconds")]
fn real() -> Arc<dyn Clock> {
    Arc::new(Real(Instant::now()))
}

const WORKERS: usize = 4;

fn ridge() -> Ridge {
    let made = Made { rows: 400, features: 60, nonzeros: 8, noise: 0.3, signs: true, seed: 1 };
    let train = Arc::new(made.make().unwrap());
    Ridge { name: "ridge".into(), train, test: None, features: 60, deal: Deal::Iid, l2: 0.01, data: 1 }
}

fn ended(
    task: &dyn Task,
    (row, steps): (&str, u64),
    sets: &[&str],
    clock: &Arc<dyn Clock>,
    replay: Option<Vec<usize>>,
) -> Ended {
    let mut recipe = Recipe::named(row).unwrap();
    sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
    recipe.resolve(&Defaults::default()).unwrap();
    check(&recipe).unwrap();
    let plan = Plan {
        recipe,
        workers: WORKERS,
        seed: 2,
        steps,
        batch_rows: 1,
        until_loss: None,
        eval_every: 20,
        checkpoint_every: None,
        out: None,
        resume: false,
        replay,
        header: super::super::Header::default(),
        environment: std::collections::BTreeMap::new(),
        cores: 0,
    };
    run(task, &plan, clock, &Nobody).unwrap()
}

/// How often each worker's word was in an update.
fn shares(order: &[usize]) -> Vec<f64> {
    let of = |worker| order.iter().filter(|came| **came == worker).count() as f64 / order.len() as f64;
    (0..WORKERS).map(of).collect()
}

#[test]
fn a_server_that_does_not_wait_hears_a_slowed_thread_seldom_and_its_record_makes_the_run_again() {
    let task = ridge();
    let sets = ["schedule=constant(500)", "fabric=threads(slow=1, factor=20)"];
    let first = ended(&task, ("acpd", 50_000), &sets, &real(), None);
    let order = arrivals(&first.points).unwrap();
    let shares = shares(&order);
    assert!(order.len() > 300, "{}", order.len());
    assert!(shares[WORKERS - 1] < 0.5 / WORKERS as f64, "{shares:?}");
    assert!(shares[..WORKERS - 1].iter().all(|share| *share > 2.0 * shares[WORKERS - 1]), "{shares:?}");
    assert!(!first.summary.simulated);
    let still: Arc<dyn Clock> = Arc::new(Still);
    let again = ended(&task, ("acpd", 50_000), &sets, &still, Some(order.clone()));
    assert_eq!(flat::fingerprint(&again.model.parameters), flat::fingerprint(&first.model.parameters));
    assert_eq!(arrivals(&again.points).unwrap(), order);
    let gaps = [&first, &again].map(|ended| ended.summary.duality_gap.map(f64::to_bits));
    assert!(gaps[0] == gaps[1] && gaps[0].is_some(), "{gaps:?}");
}

#[test]
fn where_everybody_is_waited_for_a_slowed_thread_changes_no_bit() {
    let task = ridge();
    let still: Arc<dyn Clock> = Arc::new(Still);
    let sets = ["schedule=constant(500)", "fabric=threads(slow=1, factor=20)"];
    let slow = ended(&task, ("cocoa-plus", 50_000), &sets, &real(), None);
    let alike = ended(&task, ("cocoa-plus", 50_000), &sets[..1], &still, None);
    assert_eq!(slow.model, alike.model);
    assert!(slow.points.iter().all(|point| point.arrivals.is_none()) && !slow.summary.simulated);
}

#[test]
fn work_that_is_told_took_time_whether_it_is_local_steps_or_blocks_of_a_pipeline() {
    // Block k of four is told of 12 - k batches and hears of 6 + k, which all but the last pass again.
    let of_block = |k: usize| (12 - k) + (6 + k) + if k < 3 { 6 + k } else { 0 };
    for (row, told) in [("sync-sgd", 12 * WORKERS), ("dsp", (0..WORKERS).map(of_block).sum())] {
        let fake = Arc::new(Fake::default());
        let clock: Arc<dyn Clock> = fake.clone();
        ended(&Chain::default(), (row, 12), &[], &clock, None);
        let heard = fake.heard.lock().unwrap();
        assert_eq!(heard.len(), told, "{row}");
        assert!(heard.iter().all(|(who, _, _, seconds)| *who < WORKERS as u64 && *seconds >= 1.0), "{row}: {heard:?}");
    }
}
