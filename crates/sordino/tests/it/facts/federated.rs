//! FedMom through drawn clients, FedProx's springs and SCAFFOLD's fixed point.

use super::{Given, logspace, near, run};
use crate::worlds::{gap, narrow, wide};

/// The notes' ten clients around 3, every one asked and played by three ranks.
#[test]
fn momentum_on_the_server_needs_as_few_rounds_when_clients_are_played_by_ranks() {
    let centre = |k: usize, j: usize| 3.0 + (k as f64).sin() * (j as f64).cos();
    let centres: Vec<Vec<f64>> = (1..=10).map(|k| (1..=10).map(|j| centre(k, j)).collect()).collect();
    let task = Given::new(&vec![logspace(-2.0, 0.0, 10); 10], &centres, &[10.0; 10]);
    let best = task.loss(&narrow(&task.minimiser()));
    let first = |name: &str, sets: &[&str]| {
        let base = ["optim.rate=0.1", "schedule=constant(5)", "participation=sampled(10, clients=10)"];
        let ranks = run(name, &[&base[..], sets].concat(), &task, 3, 3000).unwrap();
        let gaps: Vec<f64> = ranks[0].models().iter().map(|w| task.loss(w) - best).collect();
        near(gaps[0], 61.9936, 1e-5);
        (gaps[1], gaps.iter().position(|gap| *gap <= 1e-3))
    };
    let (plain, momentum) = (first("fedavg", &[]), first("fedmom", &[]));
    near(plain.0, 34.159_141, 1e-5);
    near(momentum.0, 18.758_398, 1e-5);
    assert_eq!((plain.1, momentum.1), (Some(552), Some(65)));
    // Asking half of them leaves noise of who was asked, which momentum does not mend.
    let half = first("fedmom", &["participation.count=5"]);
    assert_ne!(half.1, Some(65));
}

/// Five clients that want different things and pull by different curvatures.
fn five() -> Given {
    let curvature: Vec<Vec<f64>> = (0..5).map(|i| vec![0.1 + 0.2 * f64::from(i); 8]).collect();
    let centres: Vec<Vec<f64>> = (0..5).map(|i| vec![2.0 * f64::from(i) - 4.0; 8]).collect();
    Given::new(&curvature, &centres, &[0.0; 8])
}

#[test]
fn control_variates_arrive_where_averaging_is_stuck() {
    let task = five();
    let last = |name: &str, sets: &[&str]| {
        let base = ["optim.rate=0.1", "schedule=constant(10)"];
        wide(run(name, &[&base[..], sets].concat(), &task, 3, 20_000).unwrap()[0].last())
    };
    let target = task.minimiser();
    for count in [5, 2] {
        let participation = format!("participation=sampled({count}, clients=5)");
        let found = last("scaffold", &[&participation]);
        assert!(gap(&found, &target) < 1e-5, "{count} of five: {}", gap(&found, &target));
    }
    // Averaging stops where ten steps of everybody cancel: at the mean of the centres, weighted by 1 − (1 − ηh)¹⁰.
    let stuck = last("fedavg", &["participation=sampled(5, clients=5)", "aggregate=mean"]);
    let pulls: Vec<f64> = (0..5).map(|i| 1.0 - (1.0 - 0.1 * (0.1 + 0.2 * f64::from(i))).powi(10)).collect();
    let weighed: f64 = pulls.iter().enumerate().map(|(i, pull)| pull * (2.0 * i as f64 - 4.0)).sum();
    let fixed = weighed / pulls.iter().sum::<f64>();
    assert!(gap(&stuck, &[fixed; 8]) < 1e-5);
    assert!((fixed - target[0]).abs() > 0.15, "{fixed} for {}", target[0]);
}

#[test]
fn the_variates_of_the_fixed_point_are_the_gradients_there() {
    let task = five();
    let sets = ["optim.rate=0.1", "schedule=constant(10)", "participation=sampled(5, clients=5)"];
    let ranks = run("scaffold", &sets, &task, 2, 20_000).unwrap();
    let states: Vec<_> = ranks.iter().map(|rank| &rank.rounds.last().unwrap().state.vectors).collect();
    let common = wide(&states[0]["local/common"]);
    assert!(common.iter().all(|c| c.abs() < 1e-5), "the mean of the gradients is none: {common:?}");
    let mut largest = 0.0f64;
    for k in 0..5 {
        let path = format!("clients/{k}/control");
        let variate = wide(states.iter().find_map(|state| state.get(&path)).unwrap());
        let gradient = task.gradient(k, &narrow(&task.minimiser()));
        assert!(gap(&variate, &gradient) < 1e-4, "client {k}: {variate:?} for {gradient:?}");
        largest = largest.max(gap(&variate, &[0.0; 8]));
    }
    assert!(largest > 0.3, "and each of them is some");
}

#[test]
fn unequal_work_pulls_the_fixed_point_and_springs_hold_it_back() {
    // ½(x ∓ 1)² with a rate of ½: a steps arrive 1 − 2⁻ᵃ of the way. x = ½(x + (1 − x)·7/8 + x − (1 + x)·½).
    let problem = crate::oracle::problem::Quadratics {
        curvature: vec![vec![1.0]; 2],
        centres: vec![vec![1.0], vec![-1.0]],
        start: vec![0.0],
        noise: crate::oracle::problem::Noise::None,
        seed: 0,
    };
    let last = |rows: [usize; 2], name: &str, sets: &[&str]| {
        let whole = crate::worlds::Posed::whole(std::sync::Arc::new(problem.clone()));
        let task = crate::worlds::Posed { sizes: rows.to_vec(), ..whole };
        let base = ["optim.rate=0.5", "local.batch=1", "participation=sampled(2, clients=2)", "aggregate=mean"];
        f64::from(run(name, &[&base[..], sets].concat(), &task, 2, 400).unwrap()[1].last()[0])
    };
    let stuck = last([3, 1], "fedavg", &[]);
    near(stuck, 0.375 / 1.375, 1e-6);
    assert!(last([1, 1], "fedavg", &[]).abs() < 1e-6, "equal work");
    assert_eq!(last([3, 1], "fedprox", &["local.prox=0"]), stuck);
    assert!(last([3, 1], "fedprox", &["local.prox=1"]) < 0.7 * stuck);
    // Variates undo what unequal work does.
    assert!(last([3, 1], "scaffold", &[]).abs() < 1e-5);
}
