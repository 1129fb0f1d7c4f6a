//! CELGC and Clip21.

use super::{assert_close, assert_same};
use crate::oracle::{
    celgc, clip_gd, clip21,
    compress::{clip, scaled_sign, top_k},
    inner::Inner,
    local_sgd, parallel_clip, press_clip21,
    problem::{Given, Noise, Problem, Quadratics, Quartics, normal, uniform},
    sync_sgd,
    vectors::{mean, minus, norm},
};

/// `x⁴` for everybody, with noise.
fn fourth_power(workers: usize, width: f64, seed: u64) -> Quartics {
    Quartics {
        scale: vec![4.0],
        centres: vec![vec![0.0]; workers],
        start: vec![5.0],
        noise: Noise::Uniform(width),
        seed,
    }
}

/// The mean of `|4 x̄³|` over the second half of the steps.
fn stationarity(steps: &[Vec<Vec<f64>>]) -> f64 {
    let half = &steps[steps.len() / 2..];
    half.iter().map(|models| 4.0 * mean(models)[0].abs().powi(3)).sum::<f64>() / half.len() as f64
}

#[test]
fn on_the_fourth_power_local_sgd_overflows_and_celgc_arrives() {
    let local = local_sgd::Settings { rate: &|_| 0.05, inner: Inner::PLAIN, every: 8 };
    assert!(!local_sgd::trajectory(&fourth_power(8, 1.0, 0), &local, 1)[1][0].is_finite());
    for (every, expected) in [(1, 0.008), (8, 0.006), (32, 0.004)] {
        let settings =
            celgc::Settings { rate: &|_| 0.05, gamma: &|_| 0.1, momentum: 0.0, decay: 0.0, every: every as u64 };
        let mut ends = 0.0;
        for seed in 0..8 {
            let mut steps = celgc::local_models(&fourth_power(8, 1.0, seed), &settings, 2000usize.div_ceil(every));
            steps.truncate(2000);
            let end = stationarity(&steps);
            assert!(end < 0.05, "every {every}: {end}");
            ends += end / 8.0;
            for (t, models) in steps.iter().enumerate() {
                let local_steps = (t % every + 1) as f64;
                let centre = mean(models);
                for model in models {
                    let far = norm(&minus(model, &centre));
                    assert!(far <= 2.0 * 0.1 * local_steps * 7.0 / 8.0 + 1e-12, "step {t}: {far}");
                    assert!(far <= 2.0 * 0.1 * every as f64);
                }
            }
        }
        // The notes give one run each.
        assert!(ends < 1.6 * expected && ends > expected / 1.6, "every {every}: {ends}");
    }
}

#[test]
fn more_workers_bring_celgc_closer() {
    // The notes give one run each; single runs scatter by a factor of two. The means of 32 runs: 0.102, 0.057, 0.032,
    // 0.020, 0.011.
    let settings = celgc::Settings { rate: &|_| 0.01, gamma: &|_| 0.05, momentum: 0.0, decay: 0.0, every: 8 };
    let mut last = f64::INFINITY;
    for (workers, expected, factor) in
        [(1, 0.10, 1.5), (2, 0.056, 1.5), (4, 0.042, 1.6), (8, 0.022, 1.6), (16, 0.0035, 4.0)]
    {
        let runs =
            (0..32).map(|seed| stationarity(&celgc::local_models(&fourth_power(workers, 5.0, seed), &settings, 500)));
        let end = runs.sum::<f64>() / 32.0;
        assert!(end < last, "{workers} workers: {end}, fewer: {last}");
        assert!(end < expected * factor && end > expected / factor, "{workers} workers: {end}");
        last = end;
    }
}

#[test]
fn celgc_without_a_bound_is_local_sgd() {
    let problem = Quadratics::scattered(4, 9, Noise::Normal(0.3));
    let rate = |t: u64| 0.2 / (1.0 + t as f64 / 20.0);
    let clipped = celgc::Settings { rate: &rate, gamma: &|_| f64::INFINITY, momentum: 0.9, decay: 1e-3, every: 5 };
    let local = local_sgd::Settings { rate: &rate, inner: Inner::Sgd { momentum: 0.9, decay: 1e-3 }, every: 5 };
    assert_same(&celgc::trajectory(&problem, &clipped, 20), &local_sgd::trajectory(&problem, &local, 20), 1e-14);
}

#[test]
fn celgc_meeting_every_step_on_equal_gradients_is_parallel_clipping_and_clipped_sgd() {
    let mut problem = Quadratics::scattered(1, 6, Noise::None);
    let mut trajectories = Vec::new();
    for workers in [1, 4] {
        problem.curvature = vec![problem.curvature[0].clone(); workers];
        problem.centres = vec![problem.centres[0].clone(); workers];
        let celgc = celgc::Settings { rate: &|_| 0.4, gamma: &|_| 0.1, momentum: 0.5, decay: 0.01, every: 1 };
        let parallel = parallel_clip::Settings { rate: &|_| 0.4, gamma: &|_| 0.1, momentum: 0.5, decay: 0.01 };
        trajectories.push(celgc::trajectory(&problem, &celgc, 50));
        trajectories.push(parallel_clip::trajectory(&problem, &parallel, 50));
    }
    for other in &trajectories[1..] {
        assert_same(&trajectories[0], other, 1e-14);
    }
}

#[test]
fn parallel_clipping_without_a_bound_is_synchronous_sgd_and_never_steps_further_than_gamma() {
    let problem = Quartics::scattered(3, 5, Noise::Uniform(0.2));
    let plain = sync_sgd::Settings { rate: &|_| 0.01, inner: Inner::PLAIN };
    let free = parallel_clip::Settings { rate: &|_| 0.01, gamma: &|_| f64::INFINITY, momentum: 0.0, decay: 0.0 };
    let bound = parallel_clip::Settings { rate: &|_| 0.5, gamma: &|_| 0.05, momentum: 0.0, decay: 0.0 };
    assert_same(&sync_sgd::trajectory(&problem, &plain, 40), &parallel_clip::trajectory(&problem, &free, 40), 1e-15);
    for pair in parallel_clip::trajectory(&problem, &bound, 40).windows(2) {
        assert!(norm(&minus(&pair[1], &pair[0])) <= 0.05 + 1e-12);
    }
}

/// Everybody's gradient, the same everywhere.
fn slopes(rows: &[Vec<f64>], run: &dyn Fn(&dyn Problem) -> Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let start = vec![0.0; rows[0].len()];
    run(&Given { workers: rows.len(), start, gradient: &|i, _, _| rows[i].clone(), loss: &|_| 0.0 })
}

#[test]
fn parallel_clipping_measures_the_mean_gradient_and_celgc_each_one() {
    // Gradients 3 and -1, mean 1: 0.1 along the mean, or 0.1 each way.
    let rows = [vec![3.0], vec![-1.0]];
    let parallel = parallel_clip::Settings { rate: &|_| 1.0, gamma: &|_| 0.1, momentum: 0.0, decay: 0.0 };
    let local = celgc::Settings { rate: &|_| 1.0, gamma: &|_| 0.1, momentum: 0.0, decay: 0.0, every: 1 };
    assert_close(&slopes(&rows, &|problem| parallel_clip::trajectory(problem, &parallel, 1))[1], &[-0.1], 1e-15);
    assert_close(&slopes(&rows, &|problem| celgc::trajectory(problem, &local, 1))[1], &[0.0], 1e-15);
}

#[test]
fn compressed_clip21_clips_first() {
    // (3, 4) is clipped to (1.5, 2), of which the larger entry goes; the other way round 2.5 would go.
    let settings = press_clip21::Settings { rate: &|_| 0.1, tau: 2.5, compress: &|v| top_k(v, 0.5) };
    let x = slopes(&[vec![3.0, 4.0]], &|problem| press_clip21::trajectory(problem, &settings, 2));
    assert_close(&x[1], &[0.0, -0.2], 1e-15);
    // Then (3, 2) is left: clipped to 2.5/√13 of itself, the first entry goes.
    assert_close(&x[2], &[-0.75 / 13f64.sqrt(), -0.4], 1e-15);
}

#[test]
fn clip_gd_stalls_where_clip21_arrives() {
    let problem = Given {
        workers: 2,
        start: vec![0.0],
        gradient: &|i, _, x| vec![if i == 0 { x[0] - 3.0 } else { x[0] + 1.0 }],
        loss: &|x| ((x[0] - 3.0).powi(2) + (x[0] + 1.0).powi(2)) / 4.0,
    };
    let stalled = clip_gd::trajectory(&problem, &clip_gd::Settings { rate: &|_| 0.5, tau: 1.0 }, 50);
    assert!(stalled.iter().all(|x| x[0] == 0.0));
    let x = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| 0.5, tau: 1.0 }, 100);
    for (round, expected) in [(1, 0.0), (2, 0.25), (3, 0.625), (5, 0.90625), (10, 0.997_070_31), (20, 0.999_997_14)] {
        assert_close(&x[round], &[expected], 5e-9);
    }
    assert_close(&x[100], &[1.0], 1e-14);
}

#[test]
fn clip_gd_diverges_where_clip21_arrives() {
    let problem = Given {
        workers: 3,
        start: vec![1.0],
        gradient: &|i, _, x| vec![if i == 0 { 10.0 * x[0] } else { -1.0 }],
        loss: &|x| (5.0 * x[0] * x[0] - 2.0 * x[0]) / 3.0,
    };
    let away = clip_gd::trajectory(&problem, &clip_gd::Settings { rate: &|_| 0.1, tau: 1.0 }, 300);
    for (k, x) in away.iter().enumerate() {
        assert_close(x, &[1.0 + k as f64 / 30.0], 1e-12);
    }
    let x = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| 0.1, tau: 1.0 }, 50);
    assert_close(&[x[1][0], x[2][0], x[3][0]], &[1.0 + 1.0 / 30.0, 1.0 + 1.0 / 30.0, 1.0], 1e-14);
    assert_close(&x[10], &[0.2333], 1e-4);
    assert_close(&x[50], &[0.2], 1e-6);
}

#[test]
fn compressed_clip21_arrives_where_clipped_descent_goes_elsewhere() {
    let centres = vec![vec![3.0, 0.0, 1.0, 2.0], vec![-1.0, 4.0, 1.0, -2.0]];
    let problem =
        Quadratics { curvature: vec![vec![1.0; 4]; 2], centres, start: vec![0.0; 4], noise: Noise::None, seed: 0 };
    let rate = |_| 0.2;
    let top_1 = |v: &[f64]| top_k(v, 0.25);
    let last = |t: Vec<Vec<f64>>| t[400].clone();
    assert_close(
        &last(clip_gd::trajectory(&problem, &clip_gd::Settings { rate: &rate, tau: 1.0 }, 400)),
        &[1.273, 1.727, 1.0, 0.273],
        5e-4,
    );
    // Compressed Clip-GD is no row: Press-Clip21 whose shifts are forgotten. Written out here.
    let mut x = vec![0.0; 4];
    for t in 0..400 {
        let sent: Vec<Vec<f64>> = (0..2).map(|i| top_1(&clip(&problem.gradient(i, t, &x), 1.0))).collect();
        let g = mean(&sent);
        x = (0..4).map(|j| x[j] - 0.2 * g[j]).collect();
    }
    assert_close(&x, &[1.199, 1.745, 0.0, 0.255], 5e-4);
    let target = [1.0, 2.0, 1.0, 0.0];
    let clip21 = clip21::Settings { rate: &rate, tau: 1.0 };
    let press = press_clip21::Settings { rate: &rate, tau: 1.0, compress: &top_1 };
    assert_close(&last(clip21::trajectory(&problem, &clip21, 400)), &target, 1e-14);
    assert_close(&last(press_clip21::trajectory(&problem, &press, 400)), &target, 1e-14);
}

#[test]
fn clip_gd_finds_a_wrong_limit_on_logistic_regression() {
    let rows: [(f64, f64); 3] = [(10.0, -1.0), (1.0, 1.0), (1.0, 1.0)];
    let loss =
        |x: &[f64]| rows.iter().map(|(a, y)| (-y * a * x[0]).exp().ln_1p() + 0.05 * x[0] * x[0]).sum::<f64>() / 3.0;
    let problem = Given {
        workers: 3,
        start: vec![0.0],
        gradient: &|i, _, x| {
            let (a, y) = rows[i];
            vec![-y * a / (1.0 + (y * a * x[0]).exp()) + 0.1 * x[0]]
        },
        loss: &loss,
    };
    let wrong = clip_gd::trajectory(&problem, &clip_gd::Settings { rate: &|_| 0.1, tau: 0.2 }, 5000);
    assert_close(&wrong[500], &[1.2412], 5e-5);
    assert_close(&wrong[5000], &[1.241_591], 5e-7);
    assert_close(&[problem.loss(&wrong[5000])], &[4.385], 5e-4);
    let slope = mean(&[0, 1, 2].map(|i| problem.gradient(i, 0, &wrong[5000])));
    assert_close(&slope, &[3.31], 5e-3);
    let right = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| 0.1, tau: 0.2 }, 1000);
    assert_close(&right[20], &[-0.2379], 5e-5);
    assert_close(&right[50], &[-0.202_895], 1e-6);
    assert_close(&right[1000], &[-0.202_895], 1e-6);
    assert_close(&[problem.loss(&right[1000])], &[0.576_386], 1e-6);
}

#[test]
fn with_a_high_bound_all_three_are_gradient_descent() {
    let problem = Quadratics::scattered(5, 7, Noise::None);
    let rate = |_: u64| 0.3;
    let descent = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &rate, inner: Inner::PLAIN }, 60);
    let tau = 2.0 * (0..5).map(|i| norm(&problem.gradient(i, 0, &problem.start()))).fold(0.0, f64::max);
    assert_same(&descent, &clip_gd::trajectory(&problem, &clip_gd::Settings { rate: &rate, tau }, 60), 1e-12);
    assert_same(&descent, &clip21::trajectory(&problem, &clip21::Settings { rate: &rate, tau }, 60), 1e-12);
    let press = press_clip21::Settings { rate: &rate, tau, compress: &|v| v.to_vec() };
    assert_same(&descent, &press_clip21::trajectory(&problem, &press, 60), 1e-12);
}

/// The shifts that Clip21 has after every round, from the models it visited.
fn shifts(problem: &dyn Problem, models: &[Vec<f64>], tau: f64) -> Vec<Vec<Vec<f64>>> {
    let mut v = vec![vec![0.0; problem.dim()]; problem.workers()];
    let mut out = Vec::new();
    for (k, x) in models.iter().enumerate() {
        for i in 0..problem.workers() {
            let c = clip(&minus(&problem.gradient(i, k as u64, x), &v[i]), tau);
            assert!(norm(&c) <= tau * (1.0 + 1e-12));
            v[i] = (0..c.len()).map(|j| v[i][j] + c[j]).collect();
        }
        out.push(v.clone());
    }
    out
}

#[test]
fn clip21_estimates_fixed_vectors_with_the_exact_error() {
    // Rate 0 keeps the gradients where they are.
    let problem = Quadratics::scattered(3, 4, Noise::None);
    let tau = 0.25;
    let models = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| 0.0, tau }, 40);
    for (k, v) in shifts(&problem, &models, tau).iter().enumerate() {
        for i in 0..3 {
            let a = problem.gradient(i, 0, &problem.start());
            let expected = (norm(&a) - (k + 1) as f64 * tau).max(0.0);
            assert_close(&[norm(&minus(&v[i], &a))], &[expected], 1e-12);
        }
    }
}

#[test]
fn clip21_stops_clipping_in_time_and_meets_its_rate_on_random_quadratics() {
    for trial in 0..200 {
        let (n, d) = (2 + trial as usize % 5, 1 + trial as usize % 7);
        let u = |i: usize, j: usize, what: u64| uniform(100 + trial, i, what, j);
        let table = |f: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            (0..n).map(|i| (0..d).map(|j| f(i, j)).collect()).collect()
        };
        let problem = Quadratics {
            curvature: table(&|i, j| 0.05 + 2.0 * u(i, j, 0)),
            centres: table(&|i, j| 6.0 * u(i, j, 1) - 3.0),
            start: (0..d).map(|j| 6.0 * u(0, j, 2) - 3.0).collect(),
            noise: Noise::None,
            seed: 0,
        };
        let tau = 0.2 + 3.0 * u(0, 0, 3);
        let start = problem.start();
        let l_max = problem.curvature.iter().flatten().fold(0.0f64, |a, &b| a.max(b));
        let l = mean(&problem.curvature).iter().fold(0.0f64, |a, &b| a.max(b));
        let best = problem.loss(&problem.minimiser());
        let b = (0..n).map(|i| norm(&problem.gradient(i, 0, &start)) - tau).fold(0.0, f64::max);
        let f0 = problem.loss(&start) - best;
        let s = b * b + 2.0 * b.powi(3) / (3.0 * tau);
        let v = (2.0 * l * f0 + s).sqrt() + b;
        let gamma = (1.0 / l).min(tau / (2.0 * l_max * v));
        let rounds = 2 * (2.0 * b / tau).ceil() as usize + 20;
        let models = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| gamma, tau }, rounds);
        let mut squares = 0.0;
        for (k, (x, v)) in models.iter().zip(shifts(&problem, &models, tau)).enumerate().take(rounds) {
            for i in 0..n {
                let error = norm(&minus(&problem.gradient(i, 0, x), &v[i]));
                assert!(error <= (b - k as f64 * tau / 2.0).max(0.0) + 1e-9, "trial {trial}, round {k}");
            }
            let full: Vec<Vec<f64>> = (0..n).map(|i| problem.gradient(i, 0, x)).collect();
            squares += norm(&mean(&full)).powi(2);
            let count = (k + 1) as f64;
            assert!(squares / count <= 2.0 * f0 / (gamma * count) + s / count + 1e-9);
        }
        let quiet = (2.0 * b / tau).ceil() as usize;
        let descent = sync_sgd::Settings { rate: &|_| gamma, inner: Inner::PLAIN };
        let rest = Quadratics { start: models[quiet].clone(), ..problem.clone() };
        assert_same(&sync_sgd::trajectory(&rest, &descent, rounds - quiet), &models[quiet..], 1e-9);
    }
}

#[test]
fn compressing_after_clipping_contracts_as_the_lemma_says() {
    for trial in 0..20_000u64 {
        let d = 2 + trial as usize % 9;
        let u: Vec<f64> = (0..d).map(|j| 3.0 * normal(7, 0, trial, j)).collect();
        let tau = 0.1 + 5.0 * uniform(8, 0, trial, 0);
        let said = top_k(&clip(&u, tau), 1.0 / d as f64);
        let s = (1.0 - 1.0 / d as f64).sqrt();
        let left = norm(&minus(&said, &u));
        let bound = if norm(&u) <= tau { s * norm(&u) } else { norm(&u) - (1.0 - s) * tau };
        assert!(left <= bound + 1e-12 && norm(&said) <= tau + 1e-12, "trial {trial}");
        let sign = scaled_sign(&u);
        let delta = u.iter().map(|a| a.abs()).sum::<f64>().powi(2) / (d as f64 * norm(&u).powi(2));
        assert_close(&[norm(&minus(&sign, &u)).powi(2)], &[(1.0 - delta) * norm(&u).powi(2)], 1e-12);
    }
}
