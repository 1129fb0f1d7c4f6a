//! CELGC and Clip21.

use std::sync::Arc;

use sordino::base::{Kind, flat};
use sordino::workload::Polynomial;

use super::{Given, memory, mixed, near, run};
use crate::oracle::{
    problem::uniform,
    vectors::{mean, minus, norm},
};
use crate::worlds::{Formula, Posed, wide};

/// The mean of |4 x̄³| over the rounds of the second half.
fn stationarity(models: &[&[f32]]) -> f64 {
    let half = &models[models.len() / 2..];
    half.iter().map(|x| 4.0 * f64::from(x[0]).abs().powi(3)).sum::<f64>() / half.len() as f64
}

#[test]
fn on_the_fourth_power_local_sgd_diverges_and_celgc_arrives_with_workers_close_together() {
    // f(x) = x⁴, noise U[−1, 1], eight workers, from 5.
    let task = Polynomial::default();
    let error = run("local-sgd", &["optim.rate=0.05"], &task, 8, 2000).unwrap_err();
    assert_eq!(error.kind(), Kind::Diverged, "{error}");
    for every in [1u64, 8, 32] {
        let sets = ["optim=sgd(rate=0.05, momentum=0, clip=0.1)", &format!("schedule.every={every}")];
        let ranks = run("celgc", &sets, &task, 8, 2000).unwrap();
        let end = stationarity(&ranks[0].models());
        assert!(end < 0.05, "every {every}: {end}");
        assert!(ranks[0].rounds[0].told.clipped == every, "at 5 every step is clipped");
        for r in 0..ranks[0].rounds.len() {
            let silence = ranks[0].rounds[r].told.silence as f64;
            let points: Vec<Vec<f64>> = ranks.iter().map(|k| wide(&k.rounds[r].point)).collect();
            let centre = mean(&points);
            for (rank, point) in ranks.iter().zip(&points) {
                let far = norm(&minus(point, &centre));
                assert!(far <= 2.0 * 0.1 * every as f64);
                // The sharper bound: every step is at most γ long.
                assert!(far <= 2.0 * 0.1 * silence * 7.0 / 8.0 + 1e-5, "every {every}, round {r}: {far}");
                let moved = norm(&minus(point, &wide(rank.models()[r])));
                assert!(moved <= 0.1 * silence * (1.0 + 1e-5));
            }
        }
    }
}

#[test]
fn celgc_without_a_bound_is_local_sgd_bit_for_bit() {
    let task = Polynomial { dim: 7, spread: 0.3, noise: 0.5, start: 1.5 };
    let local = run("local-sgd", &["optim.rate=0.01"], &task, 4, 64).unwrap();
    let celgc = |clip: &str| run("celgc", &["optim.rate=0.01", &format!("optim.clip={clip}")], &task, 4, 64).unwrap();
    for unbounded in ["1e30", "none"] {
        assert_eq!(local[0].models(), celgc(unbounded)[0].models());
    }
    assert_ne!(local[0].models(), celgc("0.01")[0].models());
}

#[test]
fn celgc_that_meets_at_every_step_on_equal_gradients_is_clipped_sgd() {
    let task = Given::new(&vec![vec![0.3, 1.0, 2.0]; 4], &vec![vec![3.0, -2.0, 1.0]; 4], &[0.0; 3]);
    let sets = ["optim=sgd(rate=0.4, momentum=0, clip=0.1)", "schedule.every=1"];
    let (many, one) = (run("celgc", &sets, &task, 4, 80).unwrap(), run("celgc", &sets, &task, 1, 80).unwrap());
    let parallel = run("parallel-clip", &sets[..1], &task, 4, 80).unwrap();
    let mut x = vec![0.0; 3];
    for round in 0..80 {
        let g = task.gradient(0, &crate::worlds::narrow(&x));
        let step = f64::min(0.4, 0.1 / norm(&g));
        x = x.iter().zip(&g).map(|(x, g)| x - step * g).collect();
        for found in [&many, &one, &parallel] {
            assert!(norm(&minus(&wide(&found[0].rounds[round].model), &x)) < 1e-5);
        }
    }
}

/// The two parabolas between which clipping stalls.
fn stall() -> Given {
    Given::new(&[vec![1.0], vec![1.0]], &[vec![3.0], vec![-1.0]], &[0.0])
}

#[test]
fn clip_gd_stalls_where_clip21_arrives() {
    let sets = ["optim.rate=0.5", "compress.clip=1", "local.batch=full"];
    let stalled = run("clip-gd", &sets, &stall(), 2, 50).unwrap();
    // Clipping shortens by 2⁻²³ more than the norm asks for, so the two sides do not cancel to the last bit.
    assert!(stalled[0].models().iter().all(|x| x[0].abs() < 1e-5));
    let found = run("clip21", &sets, &stall(), 2, 100).unwrap();
    let x = found[0].models();
    for (round, expected) in [(1, 0.0), (2, 0.25), (3, 0.625), (5, 0.90625), (10, 0.997_070_31), (20, 0.999_997_14)] {
        assert!((f64::from(x[round][0]) - expected).abs() < 5e-6, "round {round}: {}", x[round][0]);
    }
    assert!((x[100][0] - 1.0).abs() < 1e-6);
    // With a threshold that no gradient reaches the baseline arrives as well.
    let free = run("clip-gd", &["optim.rate=0.5", "compress.clip=10"], &stall(), 2, 50).unwrap();
    assert!((free[0].last()[0] - 1.0).abs() < 1e-6);
}

#[test]
fn clip_gd_diverges_where_clip21_arrives() {
    let gradient = |i: usize, _: u64, x: &[f64]| vec![if i == 0 { 10.0 * x[0] } else { -1.0 }];
    let loss = |x: &[f64]| (5.0 * x[0] * x[0] - 2.0 * x[0]) / 3.0;
    let problem = Formula { workers: 3, start: vec![1.0], gradient: Box::new(gradient), loss };
    let task = Posed::whole(Arc::new(problem));
    let sets = ["optim.rate=0.1", "compress.clip=1", "local.batch=full"];
    let away = run("clip-gd", &sets, &task, 3, 300).unwrap();
    for (k, x) in away[0].models().iter().enumerate() {
        assert!((f64::from(x[0]) - (1.0 + k as f64 / 30.0)).abs() < 1e-3, "round {k}: {}", x[0]);
    }
    let found = run("clip21", &sets, &task, 3, 50).unwrap();
    let x: Vec<f64> = found[0].models().iter().map(|x| f64::from(x[0])).collect();
    for (round, expected) in [(1, 31.0 / 30.0), (2, 31.0 / 30.0), (3, 1.0)] {
        assert!((x[round] - expected).abs() < 1e-5);
    }
    assert!((x[10] - 0.2333).abs() < 1e-4 && (x[50] - 0.2).abs() < 1e-5, "{} {}", x[10], x[50]);
}

#[test]
fn compressed_clip21_arrives_where_clipped_descent_goes_elsewhere() {
    let task = Given::new(&vec![vec![1.0; 4]; 2], &[vec![3.0, 0.0, 1.0, 2.0], vec![-1.0, 4.0, 1.0, -2.0]], &[0.0; 4]);
    let sets = ["optim.rate=0.2", "local.batch=full"];
    let last = |name, more: &[&str]| run(name, &[&sets[..], more].concat(), &task, 2, 400).unwrap()[1].last().to_vec();
    let close = |x: Vec<f32>, to: [f64; 4], tolerance| {
        assert!(x.iter().zip(to).all(|(x, y)| (f64::from(*x) - y).abs() < tolerance), "{x:?}, not {to:?}");
    };
    close(last("clip-gd", &["compress.clip=1"]), [1.273, 1.727, 1.0, 0.273], 5e-4);
    // Compressed Clip-GD is Press-Clip21 whose shifts are forgotten.
    close(last("press-clip21", &["compress.clip=1", "feedback=none"]), [1.199, 1.745, 0.0, 0.255], 5e-4);
    close(last("clip21", &["compress.clip=1"]), [1.0, 2.0, 1.0, 0.0], 2e-5);
    close(last("press-clip21", &["compress.clip=1"]), [1.0, 2.0, 1.0, 0.0], 2e-5);
}

#[test]
fn clip_gd_finds_a_wrong_limit_on_logistic_regression() {
    const ROWS: [(f64, f64); 3] = [(10.0, -1.0), (1.0, 1.0), (1.0, 1.0)];
    let gradient = |i: usize, _: u64, x: &[f64]| {
        let (a, y) = ROWS[i];
        vec![-y * a / (1.0 + (y * a * x[0]).exp()) + 0.1 * x[0]]
    };
    let loss =
        |x: &[f64]| ROWS.iter().map(|(a, y)| (-y * a * x[0]).exp().ln_1p() + 0.05 * x[0] * x[0]).sum::<f64>() / 3.0;
    let problem = Formula { workers: 3, start: vec![0.0], gradient: Box::new(gradient), loss };
    let task = Posed::whole(Arc::new(problem));
    let sets = ["optim.rate=0.1", "compress.clip=0.2", "local.batch=full"];
    let wrong = run("clip-gd", &sets, &task, 3, 5000).unwrap();
    let wrong = wrong[0].models();
    assert!((f64::from(wrong[500][0]) - 1.2412).abs() < 1e-4);
    assert!((f64::from(wrong[5000][0]) - 1.241_591).abs() < 5e-5);
    near(loss(&wide(wrong[5000])), 4.385, 1e-3);
    let right = run("clip21", &sets, &task, 3, 1000).unwrap();
    let right = right[0].models();
    assert!((f64::from(right[20][0]) + 0.2379).abs() < 1e-4);
    for round in [50, 1000] {
        assert!((f64::from(right[round][0]) + 0.202_895).abs() < 2e-6, "{}", right[round][0]);
    }
    near(loss(&wide(right[1000])), 0.576_386, 1e-5);
}

#[test]
fn clip21_estimates_fixed_vectors_with_the_exact_error() {
    // Rate 0 keeps the gradients where they are.
    let centres = [vec![4.0, -3.0, 1.0], vec![0.1, 0.2, 0.0], vec![-2.0, 6.0, 3.0]];
    let task = Given::new(&vec![vec![1.0; 3]; 3], &centres, &[0.0; 3]);
    let tau = 0.25;
    let found = run("clip21", &["optim.rate=0", "compress.clip=0.25"], &task, 3, 40).unwrap();
    for (i, rank) in found.iter().enumerate() {
        let a = task.gradient(i, &rank.start);
        for k in 0..40 {
            assert!(flat::norm(&rank.rounds[k].said) <= tau * (1.0 + 1e-6), "no message is longer than τ");
            let error = norm(&minus(&memory(&found, i, k, "feedback/shift"), &a));
            let expected = (norm(&a) - (k + 1) as f64 * tau).max(0.0);
            assert!((error - expected).abs() < 1e-5, "worker {i}, round {k}: {error} for {expected}");
        }
        // The server's copy is the mean of the shifts.
        let shifts: Vec<_> = (0..3).map(|i| memory(&found, i, 39, "feedback/shift")).collect();
        assert!(norm(&minus(&memory(&found, i, 39, "feedback/mean_shift"), &mean(&shifts))) < 1e-5);
    }
}

#[test]
fn clip21_stops_clipping_in_time_and_meets_its_rate_on_random_quadratics() {
    for trial in 0..60u64 {
        let (n, d) = (2 + trial as usize % 4, 1 + trial as usize % 7);
        let u = |i: usize, j: usize, what: u64| uniform(700 + trial, i, what, j);
        let table = |f: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            (0..n).map(|i| (0..d).map(|j| f(i, j)).collect()).collect()
        };
        let curvature = table(&|i, j| 0.05 + 2.0 * u(i, j, 0));
        let centres = table(&|i, j| 6.0 * u(i, j, 1) - 3.0);
        let start: Vec<f64> = (0..d).map(|j| 6.0 * u(0, j, 2) - 3.0).collect();
        let tau = 0.2 + 3.0 * u(0, 0, 3);
        let task = Given::new(&curvature, &centres, &start);
        let l_max = curvature.iter().flatten().fold(0.0f64, |a, &b| a.max(b));
        let l = mean(&curvature).iter().fold(0.0f64, |a, &b| a.max(b));
        let best = task.loss(&crate::worlds::narrow(&task.minimiser()));
        let b = (0..n).map(|i| norm(&task.gradient(i, &task.start)) - tau).fold(0.0, f64::max);
        let f0 = task.loss(&task.start) - best;
        let s = b * b + 2.0 * b.powi(3) / (3.0 * tau);
        let gamma = (1.0 / l).min(tau / (2.0 * l_max * ((2.0 * l * f0 + s).sqrt() + b)));
        let quiet = (2.0 * b / tau).ceil() as usize;
        let rounds = quiet + 20;
        let sets = [format!("optim.rate={gamma}"), format!("compress.clip={tau}"), "local.batch=full".into()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let found = run("clip21", &sets, &task, n, rounds as u64).unwrap();
        let models = found[0].models();
        let mut squares = 0.0;
        for k in 0..rounds {
            for (i, rank) in found.iter().enumerate() {
                // The error after round k is that against the gradient at the model before it.
                let error = norm(&minus(&task.gradient(i, models[k]), &memory(&found, i, k, "feedback/shift")));
                let bound = (b - k as f64 * tau / 2.0).max(0.0);
                assert!(error <= bound + 1e-4, "trial {trial}, round {k}: {error} for {bound}");
                if k > quiet {
                    let given = flat::norm(&rank.rounds[k].given);
                    assert!(given <= tau * (1.0 + 1e-6), "trial {trial}, round {k}: still clipped");
                }
            }
            squares += norm(&task.slope(models[k])).powi(2);
            let count = (k + 1) as f64;
            assert!(squares / count <= (2.0 * f0 / (gamma * count) + s / count) * 1.001 + 1e-4);
            if k >= quiet {
                let step: Vec<f64> = task.slope(models[k]).iter().map(|g| gamma * g).collect();
                let descent = minus(&wide(models[k]), &step);
                assert!(norm(&minus(&wide(models[k + 1]), &descent)) < 1e-4, "trial {trial}: gradient descent");
            }
        }
    }
}

#[test]
fn with_a_high_threshold_all_three_are_gradient_descent() {
    let task = Given::new(&[vec![0.3, 1.0], vec![0.6, 0.2]], &[vec![3.0, 1.0], vec![-1.0, 2.0]], &[0.0; 2]);
    let sets = ["optim.rate=0.3", "local.batch=full"];
    let descent = run("sync-sgd", &sets, &task, 2, 60).unwrap();
    for (name, more) in
        [("clip-gd", "compress.clip=50"), ("clip21", "compress.clip=50"), ("press-clip21", "compress=topk(1, clip=50)")]
    {
        let found = run(name, &[&sets[..], &[more]].concat(), &task, 2, 60).unwrap();
        for (a, b) in descent[0].models().iter().zip(found[0].models()) {
            assert!(crate::worlds::apart(a, b) < 1e-5, "{name}");
        }
    }
}

#[test]
fn compressing_after_clipping_contracts_as_the_lemma_says() {
    // One worker, rate 0, a gradient of its own at every step: what is given and what is said of it.
    let d = 6;
    let gradient =
        |_: usize, t: u64, _: &[f64]| (0..6).map(|j| 3.0 * crate::oracle::problem::normal(7, 0, t, j)).collect();
    let problem = Formula { workers: 1, start: vec![0.0; d], gradient: Box::new(gradient), loss: |_| 0.0 };
    let task = Posed::whole(Arc::new(problem));
    let s = (1.0 - 1.0 / d as f64).sqrt();
    let mut clipped = 0;
    for tau in [0.5, 3.0, 7.0, 12.0] {
        let sets = ["optim.rate=0", "payload=gradient", &format!("compress=topk(ratio=0.17, clip={tau})")];
        for round in &mixed(&sets, &task, 1, 1000).unwrap()[0].rounds {
            let (given, said) = (flat::norm(&round.given), flat::norm(&round.said));
            let left = flat::distance(&round.given, &round.said);
            let bound = if given <= tau { s * given } else { given - (1.0 - s) * tau };
            assert!(left <= bound * (1.0 + 1e-6) && said <= tau * (1.0 + 1e-6));
            clipped += usize::from(given > tau);
        }
    }
    assert!((1000..3500).contains(&clipped), "{clipped} of 4000 were clipped");
}
