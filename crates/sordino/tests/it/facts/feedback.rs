//! EF, SAEF, DEF and EF21.

use sordino::base::Kind;
use sordino::testing::Rank;

use super::{Given, logspace, memory, mixed, near, run};
use crate::oracle::{
    problem::uniform,
    vectors::{mean, minus, norm},
};
use crate::worlds::{apart, gap, wide};

/// Four identical workers, curvatures from 0.1 to 1, centres ±3.
fn toy() -> Given {
    let centres: Vec<f64> = (0..20).map(|j| if j % 2 == 0 { 3.0 } else { -3.0 }).collect();
    Given::new(&vec![logspace(-1.0, 0.0, 20); 4], &vec![centres; 4], &[0.0; 20])
}

/// Eight workers with curvatures and centres of their own, and noise.
fn scattered() -> Given {
    let u = |i: usize, j: usize, what: u64| uniform(5, i, what, j);
    let table = |f: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
        (0..8).map(|i| (0..12).map(|j| f(i, j)).collect()).collect()
    };
    let task = Given::new(&table(&|i, j| 0.1 + 0.9 * u(i, j, 0)), &table(&|i, j| 2.0 * u(i, j, 1) - 1.0), &[0.0; 12]);
    Given { noise: 0.1, ..task }
}

/// Losses after 200 and 1000 rounds of top-1 with a look ahead of λ, or what stopped the run.
fn losses(rate: f64, lambda: f64, star: bool) -> Result<[f64; 2], Kind> {
    let task = toy();
    let rate = format!("optim.rate={rate}");
    let feedback = format!("feedback=residual(lambda={lambda})");
    let exchange = if star { "exchange=star(down=topk(0.05), feedback=residual)" } else { "exchange=gather" };
    let ranks = mixed(&[&rate, "compress=topk(0.05)", &feedback, exchange], &task, 4, 1000).map_err(|e| e.kind())?;
    let models = ranks[0].models();
    Ok([task.loss(models[200]), task.loss(models[1000])])
}

#[test]
fn step_ahead_keeps_the_stability_of_sgd_where_error_feedback_loses_it() {
    // f32 resolves this loss down to about 10⁻¹².
    let floor = 1e-11;
    for star in [false, true] {
        for (rate, lambda, expected) in [(0.05, 0.0, [2.4e-1, 2.3e-5]), (0.05, 1.0, [3.0e-1, 2.9e-5])] {
            let found = losses(rate, lambda, star).unwrap();
            near(found[0], expected[0], 0.03);
            near(found[1], expected[1], 0.03);
        }
        let [early, late] = losses(0.2, 0.0, star).unwrap();
        near(early, 4.6e-5, 0.05);
        assert!(late < floor);
        // EF at 0.3 drifts away, at 0.5 and beyond it explodes.
        let [early, late] = losses(0.3, 0.0, star).unwrap();
        assert!(late > 10.0 * early && late > 0.5, "{early} {late}");
        for rate in [0.5, 1.0] {
            match losses(rate, 0.0, star) {
                Ok([early, late]) => assert!(early > 1e3 && late > 1e5, "rate {rate}: {early} {late}"),
                Err(kind) => assert_eq!(kind, Kind::Diverged),
            }
        }
        near(losses(0.2, 1.0, star).unwrap()[0], 2.4e-4, 0.05);
        near(losses(0.3, 1.0, star).unwrap()[0], 3.1e-6, 0.05);
        for rate in [0.2, 0.3, 0.5, 1.0] {
            assert!(losses(rate, 1.0, star).unwrap()[1] < floor, "rate {rate}");
        }
    }
}

#[test]
fn detached_feedback_is_stable_strictly_between_the_two() {
    let [_, late] = losses(0.3, 0.3, false).unwrap();
    assert!(late < 1e-11, "stable at 0.3, where EF is not: {late}");
    let [_, late] = losses(0.5, 0.3, false).unwrap();
    assert!((1.0..1e4).contains(&late), "unstable at 0.5, where SAEF is not: {late}");
}

/// x − ē − E after every round; the start before the first.
fn mean_points(ranks: &[Rank]) -> Vec<Vec<f64>> {
    let point = |round: usize| {
        let errors: Vec<_> = (0..ranks.len()).map(|k| memory(ranks, k, round, "feedback/residual")).collect();
        let server = memory(ranks, 0, round, "exchange/residual");
        minus(&minus(&wide(&ranks[0].rounds[round].model), &mean(&errors)), &server)
    };
    std::iter::once(wide(&ranks[0].start)).chain((0..ranks[0].rounds.len()).map(point)).collect()
}

#[test]
fn the_mean_point_moves_by_the_mean_momentum() {
    let task = scattered();
    for exchange in ["exchange=gather", "exchange=star(down=topk(0.25), feedback=residual)"] {
        for every in ["0", "4"] {
            let sets = [
                "optim=sgd(rate=0.05, momentum=0.9)",
                "compress=topk(0.25)",
                exchange,
                &format!("feedback=residual(lambda=1, every={every})"),
            ];
            let ranks = mixed(&sets, &task, 8, 60).unwrap();
            let points = mean_points(&ranks);
            for round in 0..60 {
                let momenta: Vec<_> = (0..8).map(|k| memory(&ranks, k, round, "optim/0/momentum")).collect();
                let moved: Vec<f64> = mean(&momenta).iter().map(|m| 0.05 * m).collect();
                assert!(gap(&points[round + 1], &minus(&points[round], &moved)) < 1e-6);
            }
            // The residual bound of a contraction of 1/4.
            let s = 0.75f64.sqrt();
            let residuals = |k: usize| (0..60).map(move |r| (k, r));
            let largest = (0..8)
                .flat_map(residuals)
                .map(|(k, r)| norm(&memory(&ranks, k, r, "optim/0/momentum")))
                .fold(0.0, f64::max);
            for (k, r) in (0..8).flat_map(residuals) {
                assert!(norm(&memory(&ranks, k, r, "feedback/residual")) <= 0.05 * largest * s / (1.0 - s));
            }
        }
    }
}

fn momentum_sgd(task: &Given, steps: u64) -> Vec<Vec<f64>> {
    let ranks = run("sync-sgd", &["optim=sgd(rate=0.1, momentum=0.9)"], task, task.workers(), steps).unwrap();
    ranks[0].models().iter().map(|m| wide(m)).collect()
}

fn farthest(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| gap(a, b)).fold(0.0, f64::max)
}

#[test]
fn for_one_worker_the_stepped_ahead_point_is_plain_momentum_sgd() {
    let mut task = scattered();
    task.bowls = vec![task.bowls[3].clone()].into();
    let plain = momentum_sgd(&task, 100);
    for compress in ["topk(0.01)", "sign", "randk(0.2)"] {
        let far = |lambda: &str| {
            let sets = [
                "optim=sgd(rate=0.1, momentum=0.9)",
                &format!("compress={compress}"),
                &format!("feedback=residual(lambda={lambda})"),
            ];
            farthest(&mean_points(&mixed(&sets, &task, 1, 100).unwrap()), &plain)
        };
        assert!(far("1") < 1e-5, "{compress}: {}", far("1"));
        // Error feedback that does not look ahead takes its gradients elsewhere.
        assert!(far("0") > 1e-3, "{compress}: {}", far("0"));
    }
}

#[test]
fn averaging_the_residuals_before_every_step_is_parallel_sgd() {
    let task = scattered();
    let plain = momentum_sgd(&task, 60);
    let far = |every: u64| {
        let sets = [
            "optim=sgd(rate=0.1, momentum=0.9)",
            "compress=topk(0.01)",
            &format!("feedback=residual(lambda=1, every={every})"),
        ];
        norm(&minus(&mean_points(&mixed(&sets, &task, 8, 60).unwrap())[60], &plain[60]))
    };
    let (never, fifth, always) = (far(0), far(5), far(1));
    assert!(never > fifth && fifth > 1e-3 && always < 1e-5, "{never} {fifth} {always}");
}

#[test]
fn with_a_common_curvature_the_mean_point_is_parallel_sgd_without_averaging() {
    let mut task = scattered();
    let common = task.bowls[0].spectrum.clone();
    let bowls = task.bowls.iter().map(|b| sordino::workload::Bowl { spectrum: common.clone(), ..b.clone() });
    task.bowls = bowls.collect::<Vec<_>>().into();
    let sets = ["optim=sgd(rate=0.1, momentum=0.9)", "compress=sign", "feedback=residual(lambda=1)"];
    let far = |task: &Given| farthest(&mean_points(&mixed(&sets, task, 8, 60).unwrap()), &momentum_sgd(task, 60));
    assert!(far(&task) < 1e-5, "{}", far(&task));
    assert!(far(&scattered()) > 1e-3);
}

#[test]
fn detached_feedback_at_its_ends_is_error_feedback_and_step_ahead() {
    let task = scattered();
    let of = |name: &str, sets: &[&str]| {
        let all = [&["optim=sgd(rate=0.05, momentum=0.9)", "compress=topk(0.25)", "exchange=gather"], sets].concat();
        run(name, &all, &task, 8, 40).unwrap()
    };
    let same = |a: &[Rank], b: &[Rank]| a[0].models() == b[0].models();
    assert!(same(&of("def", &["feedback.lambda=0"]), &of("ef-sgd", &[])));
    assert!(same(&of("def", &["feedback.lambda=1"]), &of("saef", &[])));
    assert!(!same(&of("def", &[]), &of("ef-sgd", &[])) && !same(&of("def", &[]), &of("saef", &[])));
}

#[test]
fn bare_top_k_stalls_on_unequal_quadratics_where_feedback_arrives() {
    let task = Given { noise: 0.0, ..scattered() };
    let best = task.minimiser();
    let far = |sets: &[&str]| {
        let ranks = mixed(&[&["optim.rate=0.03", "compress=topk(0.1)"], sets].concat(), &task, 8, 4000).unwrap();
        norm(&minus(&wide(ranks[0].last()), &best))
    };
    let (bare, ef21) = (far(&[]), far(&["payload=gradient", "feedback=ef21"]));
    assert!(bare > 0.1 && ef21 < 1e-4, "{bare} {ef21}");
    // Residuals circle around the minimiser at a distance that the rate sets.
    let ef = far(&["feedback=residual"]);
    assert!(ef < bare / 5.0, "{ef} against {bare}");
}

#[test]
fn looking_ahead_moves_the_point_where_gradients_are_taken_and_the_model_not() {
    let task = scattered();
    let sets = ["optim.rate=0", "compress=topk(0.1)", "feedback=residual(lambda=1)"];
    let still = mixed(&sets, &task, 8, 5).unwrap();
    assert!(still[0].models().iter().all(|m| apart(m, &still[0].start) == 0.0));
    let sets = ["optim.rate=0.1", "compress=topk(0.1)", "feedback=residual(lambda=1)"];
    let ranks = mixed(&sets, &task, 8, 5).unwrap();
    for rank in &ranks {
        for round in 1..5 {
            // y = x − e, then one plain step, whose length is what was given less what was owed.
            let before = minus(
                &wide(&rank.rounds[round - 1].model),
                &wide(&rank.rounds[round - 1].state.vectors["feedback/residual"]),
            );
            let owed = wide(&rank.rounds[round - 1].state.vectors["feedback/residual"]);
            let step = minus(&wide(&rank.rounds[round].given), &owed);
            assert!(gap(&wide(&rank.rounds[round].point), &minus(&before, &step)) < 1e-6);
        }
    }
}
