//! Delayed averaging (`staleness=delayed`): a meeting's words travel while everybody goes on stepping.
//!
//! ```text
//! at every step t, first, if words are due:   U = outer(mean of the D_i that were said) ;   x ← x - U ;   y_i ← y_i + D_i - U
//! then                                        y_i ← y_i - step_i(g_i(y_i)) ;   what i has not said yet grows by the step
//! every H steps                               D_i ← what i has not said yet, which is said and due τ steps later,
//!                                             but before the next words are said
//! ```
//!
//! With fragments, every H steps the next fragment in turn does all this for its own entries.
//!
//! A worker's own moves are taken out when what all agreed on comes in; what it stepped meanwhile stays. For gradients
//! the model steps on their mean when it comes, and the gradient after the one that travels is taken at the model before.
//!
//! Reference: Zhou et al., "`DaSGD`: Squeezing SGD Parallelization Performance in Distributed Training Using Delayed
//! Averaging", arXiv 2006.00441; for gradients Li et al., "Pipe-SGD", arXiv 1811.03619; for
//! fragments Douillard et al., "Streaming `DiLoCo`", arXiv 2501.18512, with steps kept instead of models mixed.

use std::ops::Range;

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// The local optimizer.
    pub inner: Inner,
    /// H.
    pub every: u64,
    /// τ, in steps.
    pub late: u64,
    /// The entries of every fragment, in turn; one of all for plain averaging.
    pub fragments: Vec<Range<usize>>,
    /// The outer rate and the outer Nesterov momentum: (1, 0) is plain averaging.
    pub outer: (f64, f64),
}

/// All `dim` entries as one fragment.
pub fn whole(dim: usize) -> Vec<Range<usize>> {
    std::iter::once(0..dim).collect()
}

/// The model at the start and whenever words have been taken in, over `steps` steps, a multiple of H; the last words
/// are waited for.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, steps: u64) -> Vec<Vec<f64>> {
    let (n, dim) = (problem.workers(), problem.dim());
    let (mut x, mut momentum) = (problem.start(), vec![0.0; dim]);
    let mut y = vec![x.clone(); n];
    let mut states = vec![State::new(dim); n];
    let mut unsaid = vec![vec![0.0; dim]; n];
    let mut travelling: Option<(u64, Range<usize>, Vec<Vec<f64>>)> = None;
    let mut out = vec![x.clone()];
    let (rate, beta) = settings.outer;
    let mut take_in = |x: &mut Vec<f64>, y: &mut Vec<Vec<f64>>, of: Range<usize>, said: &Vec<Vec<f64>>| {
        let agreed = mean(said);
        for j in of {
            momentum[j] = beta * momentum[j] + agreed[j];
            let u = rate * (agreed[j] + beta * momentum[j]);
            x[j] -= u;
            for i in 0..n {
                y[i][j] += said[i][j] - u;
            }
        }
    };
    for t in 0..steps {
        if travelling.as_ref().is_some_and(|(due, ..)| *due == t) {
            let (_, of, said) = travelling.take().unwrap();
            take_in(&mut x, &mut y, of, &said);
            out.push(x.clone());
        }
        for i in 0..n {
            let before = y[i].clone();
            let g = problem.gradient(i, t, &y[i]);
            states[i].step(settings.inner, (settings.rate)(t), &mut y[i], &g);
            for j in 0..dim {
                unsaid[i][j] += before[j] - y[i][j];
            }
        }
        if (t + 1) % settings.every == 0 {
            if let Some((_, of, said)) = travelling.take() {
                take_in(&mut x, &mut y, of, &said);
                out.push(x.clone());
            }
            let of = settings.fragments[(t / settings.every) as usize % settings.fragments.len()].clone();
            let said = unsaid.clone();
            for mine in &mut unsaid {
                mine[of.clone()].fill(0.0);
            }
            travelling = Some((t + 1 + settings.late, of, said));
        }
    }
    let (_, of, said) = travelling.unwrap();
    take_in(&mut x, &mut y, of, &said);
    out.push(x);
    out
}

/// Gradients that are a step late: the model at the start and after every step.
pub fn gradients(problem: &dyn Problem, rate: Rate, inner: Inner, steps: u64) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut out = vec![problem.start()];
    let mut state = State::new(problem.dim());
    for t in 0..steps as usize {
        let at = out[t.saturating_sub(1)].clone();
        let gradients: Vec<Vec<f64>> = (0..n).map(|i| problem.gradient(i, t as u64, &at)).collect();
        let mut x = out[t].clone();
        state.step(inner, rate(t as u64), &mut x, &mean(&gradients));
        out.push(x);
    }
    out
}
