//! The loop that the quantizers share: every worker encodes its gradient, the decoded gradients are averaged, and the
//! mean takes one step of SGD. No worker remembers what rounding lost.

use super::{
    inner::{Inner, State},
    problem::{PerWorker, Problem, Rate},
    vectors::mean,
};

/// `x -= η (momentum of) mean_i Q(g_i)`; `encode(worker, round, gradient)` is `Q`.
pub fn descend(problem: &dyn Problem, rate: Rate, inner: Inner, rounds: usize, encode: PerWorker) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut state = State::new(problem.dim());
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let mut decoded = Vec::new();
        for i in 0..problem.workers() {
            decoded.push(encode(i, r, &problem.gradient(i, r, &x)));
        }
        state.step(inner, rate(r), &mut x, &mean(&decoded));
        out.push(x.clone());
    }
    out
}
