//! FedMom, QSR and the drift to flat places.

use std::sync::Arc;

use super::{Given, logspace, mixed, near, run};
use crate::oracle::problem::normal;
use crate::worlds::{Formula, Posed, apart, wide};

/// Ten clients around 3.
fn clients() -> Given {
    let centre = |k: usize, j: usize| 3.0 + (k as f64).sin() * (j as f64).cos();
    let centres: Vec<Vec<f64>> = (1..=10).map(|k| (1..=10).map(|j| centre(k, j)).collect()).collect();
    Given::new(&vec![logspace(-2.0, 0.0, 10); 10], &centres, &[10.0; 10])
}

#[test]
fn federated_momentum_needs_fewer_rounds() {
    let task = clients();
    let best = task.loss(&crate::worlds::narrow(&task.minimiser()));
    let gaps = |beta: f64| -> Vec<f64> {
        let sets = ["optim.rate=0.1", "schedule=constant(5)", "participation=everyone", &format!("outer.beta={beta}")];
        let ranks = run("fedmom", &sets, &task, 10, 3000).unwrap();
        ranks[0].models().iter().map(|w| task.loss(w) - best).collect()
    };
    let (plain, momentum) = (gaps(0.0), gaps(0.9));
    near(plain[0], 61.9936, 1e-5);
    for (round, expected, tolerance) in [(1, 34.159_141, 1e-5), (10, 4.369_598, 1e-5), (50, 0.6589, 2e-4)] {
        near(plain[round], expected, tolerance);
    }
    for (round, expected, tolerance) in [(1, 18.758_398, 1e-5), (10, 1.754_611, 1e-5), (50, 5.312e-3, 1e-3)] {
        near(momentum[round], expected, tolerance);
    }
    assert_eq!(plain.iter().position(|gap| *gap <= 1e-3), Some(552));
    assert_eq!(momentum.iter().position(|gap| *gap <= 1e-3), Some(65));
}

#[test]
fn federated_momentum_starts_as_its_first_step_says_and_ends_as_nesterov() {
    let task = clients();
    let sets = ["optim.rate=0.2", "schedule=constant(1)", "participation=everyone"];
    let found = run("fedmom", &sets, &task, 10, 40).unwrap();
    let plain = run("fedmom", &[&sets[..], &["outer.beta=0"]].concat(), &task, 10, 1).unwrap();
    // w₁ = w₀ − (1 + β)·g₀.
    for j in 0..10 {
        let (w0, step) = (found[0].start[j], plain[0].last()[j] - plain[0].start[j]);
        assert!((found[0].models()[1][j] - (w0 + 1.9 * step)).abs() < 1e-5);
    }
    // Nesterov's two sequences.
    let (mut x, mut v) = (wide(&found[0].start), wide(&found[0].start));
    for w in &found[0].models()[1..] {
        let g = task.slope(&crate::worlds::narrow(&x));
        let next: Vec<f64> = x.iter().zip(&g).map(|(x, g)| x - 0.2 * g).collect();
        x = next.iter().zip(&v).map(|(n, v)| n + 0.9 * (n - v)).collect();
        v = next;
        assert!(crate::worlds::gap(&wide(w), &x) < 1e-5);
    }
}

/// A problem whose gradient does not matter, for schedules.
fn nothing() -> Posed {
    let gradient = |_: usize, _: u64, _: &[f64]| vec![0.0];
    Posed::whole(Arc::new(Formula { workers: 1, start: vec![0.0], gradient: Box::new(gradient), loss: |_| 0.0 }))
}

#[test]
fn the_quadratic_rule_makes_the_rounds_of_the_published_runs() {
    let rounds = |peak: f64, warmup: u64, base: u64, alpha: f64, steps: u64, shape: &str| {
        let sets = [
            format!("optim=sgd(rate={peak}, schedule={shape}(warmup={warmup}))"),
            format!("schedule=qsr(base={base}, alpha={alpha})"),
        ];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let ranks = run("qsr", &sets, &nothing(), 1, steps).unwrap();
        let silences: Vec<u64> = ranks[0].rounds.iter().map(|r| r.told.silence).collect();
        assert_eq!(silences.iter().sum::<u64>(), steps, "the last round ends at the last step");
        let (_, rest) = silences.split_last().unwrap();
        let ends: Vec<u64> = ranks[0].rounds.iter().map(|r| r.told.steps).collect();
        let after: Vec<u64> =
            rest.iter().zip(&ends).filter(|(_, end)| **end > warmup + base).map(|(h, _)| *h).collect();
        assert!(after.is_sorted(), "silences grow until the clamp");
        silences.len()
    };
    assert_eq!(rounds(0.008, 10_000, 4, 0.0175, 93_600, "cosine"), 9711);
    assert_eq!(rounds(0.008, 10_000, 8, 0.0175, 93_600, "cosine"), 6461);
    assert_eq!(rounds(0.8, 1560, 2, 0.2, 62_400, "cosine"), 24_792);
    assert_eq!(rounds(0.8, 1560, 4, 0.25, 62_400, "cosine"), 12_539);
    near(rounds(0.008, 10_000, 4, 0.0175, 93_600, "linear") as f64 / 93_600.0, 0.0934, 1e-3);
    assert_eq!(rounds(0.008, 10_000, 7, 0.0, 93_600, "cosine"), 93_600usize.div_ceil(7));
}

#[test]
fn golden_silences_come_out_of_the_engine() {
    let optim = "optim=sgd(rate=0.008, schedule=cosine(warmup=10000))";
    let recipe = crate::worlds::row("qsr", &[optim, "schedule=qsr(base=4, alpha=0.0175)"]);
    let task = nothing();
    let trial = sordino::testing::Trial::new(&recipe, &task, 1, 0, 93_600);
    let whole = trial.run().unwrap();
    let state = &whole[0].rounds[5000].state;
    let golden = [(10_000, 4), (20_000, 5), (40_000, 9), (60_000, 39), (80_000, 1168), (90_000, 3600), (93_000, 600)];
    for (step, silence) in golden {
        // A checkpoint that stands at that step, in a round that is not the first.
        let mut state = state.clone();
        let position = state.numbers.get_mut("position").unwrap();
        position[1] = step;
        position[2] = 1.0f64.to_bits();
        let rest = sordino::testing::Trial { rounds: 5002, ..trial }.resume(&[state]).unwrap();
        assert_eq!(rest[0].rounds[0].told.silence, silence, "at step {step}");
    }
}

/// Eight workers on ½(1 + u²)v² with noise on ∂v alone: flatter where u is smaller. The last u, meaned over seeds.
fn valley(seeds: u64, sets: &[&str]) -> f64 {
    let one = |seed: u64| {
        let gradient = move |i: usize, t: u64, x: &[f64]| {
            vec![x[0] * x[1] * x[1], (1.0 + x[0] * x[0]) * x[1] + normal(seed, i, t, 0)]
        };
        let loss = |x: &[f64]| 0.5 * (1.0 + x[0] * x[0]) * x[1] * x[1];
        let problem = Formula { workers: 8, start: vec![1.0, 0.0], gradient: Box::new(gradient), loss };
        let task = Posed::whole(Arc::new(problem));
        f64::from(mixed(&[&["optim.rate=0.05"], sets].concat(), &task, 8, 4000).unwrap()[0].last()[0])
    };
    (0..seeds).map(one).sum::<f64>() / seeds as f64
}

#[test]
fn longer_rounds_drift_to_flatter_places() {
    let local = |every: u64| valley(3, &["payload=parameters", "exchange=reduce", &format!("schedule.every={every}")]);
    let parallel = valley(1, &["payload=gradient", "exchange=reduce"]);
    let (some, many, most) = (local(4), local(20), local(400));
    assert!(most < many && many < some && some < parallel, "{most} {many} {some} {parallel}");
    near(parallel, 0.684, 0.15);
    near(some, 0.347, 0.2);
    near(many, 0.059, 0.3);
}

#[test]
fn meeting_at_every_step_is_parallel_sgd_but_not_parallel_adamw() {
    let task = clients();
    let far = |optim: &str| {
        let quadratic = run("qsr", &[optim, "schedule=qsr(base=1, alpha=0)"], &task, 10, 60).unwrap();
        let parallel = run("sync-sgd", &[optim], &task, 10, 60).unwrap();
        apart(quadratic[0].last(), parallel[0].last())
    };
    let (sgd, adamw) = (far("optim=sgd(momentum=0.9, decay=0.001)"), far("optim=adamw(rate=0.3)"));
    assert!(sgd < 1e-5 && adamw > 1e-3, "{sgd} {adamw}");
}
