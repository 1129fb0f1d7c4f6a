//! What every schedule must keep, ours and a stranger's.

use crate::schedule::{Facts, Schedule, clamped};

/// The silences over a whole run of `steps` steps at a falling rate.
fn silences(schedule: &dyn Schedule, steps: u64, warmup: u64) -> Vec<u64> {
    let rate = |t: u64| if t < warmup { (t + 1) as f64 } else { warmup.max(1) as f64 } / (1.0 + t as f64 / 50.0);
    let (mut at, mut before, mut all) = (0, None, Vec::new());
    while at < steps {
        let facts = Facts {
            round: all.len() as u64,
            step: at,
            rate: rate(at),
            previous_rate: before,
            steps: Some(steps),
            warming: at < warmup,
            epoch: 7.3,
        };
        let silence = clamped(schedule, &facts);
        assert_eq!(silence, clamped(schedule, &facts), "the same facts give another silence");
        assert!(silence >= 1, "a silence of {silence} steps at step {at}");
        all.push(silence);
        before = Some(facts.rate);
        at += silence;
    }
    all
}

/// Holds a schedule to its contract.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite(make: &dyn Fn() -> Box<dyn Schedule>) {
    for (steps, warmup) in [(1, 0), (2, 1), (97, 0), (500, 60), (4001, 100)] {
        let schedule = make();
        let all = silences(&*schedule, steps, warmup);
        assert_eq!(all.iter().sum::<u64>(), steps, "the silences of a run of {steps} steps do not add up to it");
        assert_eq!(all, silences(&*make(), steps, warmup), "another rank gets another answer");
    }
    // Facts at their edges: no known end, no rate, the last step.
    for (steps, rate) in [(None, 0.1), (None, 0.0), (Some(10), 0.0), (Some(10), f64::MIN_POSITIVE)] {
        let facts = Facts { round: 3, step: 9, rate, previous_rate: Some(rate), steps, warming: false, epoch: 7.3 };
        let silence = clamped(&*make(), &facts);
        assert!(silence >= 1, "a silence of {silence} steps at a rate of {rate}");
        assert!(steps.is_none() || silence == 1, "one step is left, the silence is {silence}");
    }
}
