//! The problems' gradients are those of their losses.

use super::assert_close;
use crate::oracle::{
    problem::{Logistic, Noise, Problem, Quadratics, Quartics, normal, uniform},
    vectors::{mean, norm},
};

#[test]
fn gradients_are_the_slopes_of_the_losses() {
    let quadratics = Quadratics::scattered(3, 4, Noise::None);
    let logistic = Logistic::waves(3, 7, 4, 0.05, None);
    let quartics = Quartics::scattered(3, 4, Noise::None);
    for problem in [&quadratics as &dyn Problem, &logistic, &quartics] {
        let x: Vec<f64> = (0..4).map(|j| 0.3 + 0.2 * j as f64).collect();
        let rows: Vec<Vec<f64>> = (0..problem.workers()).map(|i| problem.gradient(i, 9, &x)).collect();
        let slopes: Vec<f64> = (0..4)
            .map(|j| {
                let (mut up, mut down) = (x.clone(), x.clone());
                up[j] += 1e-5;
                down[j] -= 1e-5;
                (problem.loss(&up) - problem.loss(&down)) / 2e-5
            })
            .collect();
        assert_close(&mean(&rows), &slopes, 1e-8);
        assert!(norm(&rows[0]) > 0.0 && rows[0] != rows[1]);
    }
    let best = quadratics.minimiser();
    assert!(norm(&mean(&[0, 1, 2].map(|i| quadratics.gradient(i, 0, &best)))) < 1e-14);
}

#[test]
fn a_batch_goes_through_the_rows_in_turn() {
    let (whole, parts) = (Logistic::waves(2, 6, 3, 0.1, None), Logistic::waves(2, 6, 3, 0.1, Some(2)));
    let x = [0.5, -0.2, 0.1];
    assert_close(&mean(&[0, 1, 2].map(|t| parts.gradient(1, t, &x))), &whole.gradient(1, 0, &x), 1e-14);
    assert_eq!(parts.gradient(1, 4, &x), parts.gradient(1, 1, &x));
}

#[test]
fn noise_repeats_itself_and_is_spread_as_it_should_be() {
    let problem = Quadratics::scattered(2, 3, Noise::Normal(1.0));
    let x = problem.start();
    assert_eq!(problem.gradient(1, 5, &x), problem.gradient(1, 5, &x));
    assert_ne!(problem.gradient(1, 5, &x), problem.gradient(1, 6, &x));
    let n = 100_000;
    let (mut sum, mut squares, mut flat) = (0.0, 0.0, 0.0);
    for t in 0..n {
        let z = normal(1, 2, t, 3);
        sum += z;
        squares += z * z;
        flat += uniform(1, 2, t, 3);
    }
    let n = n as f64;
    assert!((sum / n).abs() < 0.015 && (squares / n - 1.0).abs() < 0.02 && (flat / n - 0.5).abs() < 0.005);
}
