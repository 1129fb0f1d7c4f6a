//! The quadratic synchronization rule (`qsr`): local steps, whose number grows as the rate falls.
//!
//! ```text
//! H = max(H_base, ⌊(α/η_t)²⌋), t the round's first step, at most the steps left, at least 1
//! H = H_base in the first round and while the rate warms up
//! ```
//!
//! Inside a round: local SGD or local AdamW, whose state stays with its worker; then the mean of the models.
//!
//! Reference: Gu et al., "A Quadratic Synchronization Rule for Distributed Deep Learning", arXiv 2310.14423.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// The local optimizer.
    pub inner: Inner,
    /// `H_base`.
    pub base: u64,
    /// α; 0 keeps H at `H_base`.
    pub alpha: f64,
    /// The steps of warm-up.
    pub warmup: u64,
    /// All steps: the last round ends there.
    pub steps: u64,
    /// Also answer `H_base` while the rate is above the previous round's: a rule for unknown warm-ups, not the paper's.
    pub hold_while_rising: bool,
}

/// H of a round that starts at step `t`; `previous` is the start of the round before.
pub fn period(settings: &Settings, t: u64, previous: Option<u64>) -> u64 {
    let eta = (settings.rate)(t);
    let rising = settings.hold_while_rising && previous.is_some_and(|p| eta > (settings.rate)(p));
    let h = if previous.is_none() || t < settings.warmup || rising {
        settings.base
    } else {
        ((settings.alpha / eta).powi(2).trunc() as u64).max(settings.base)
    };
    h.min(settings.steps - t).max(1)
}

/// The H of all rounds.
pub fn periods(settings: &Settings) -> Vec<u64> {
    let (mut all, mut t, mut previous) = (Vec::new(), 0, None);
    while t < settings.steps {
        let h = period(settings, t, previous);
        all.push(h);
        previous = Some(t);
        t += h;
    }
    all
}

/// The model at the start and after every round, `rounds` of them or fewer if the steps run out.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut x = problem.start();
    let mut states = vec![State::new(problem.dim()); n];
    let mut out = vec![x.clone()];
    let mut first = 0;
    for h in periods(settings).into_iter().take(rounds) {
        let mut local = vec![x.clone(); n];
        for t in first..first + h {
            for i in 0..n {
                let g = problem.gradient(i, t, &local[i]);
                states[i].step(settings.inner, (settings.rate)(t), &mut local[i], &g);
            }
        }
        first += h;
        x = mean(&local);
        out.push(x.clone());
    }
    out
}
