//! Budget: the accountant's questions turned round.
//!
//! # What it does
//! Finds the least noise that keeps so many steps within (ε, δ), and the most steps that so much noise allows.
//!
//! # The step
//! ```text
//! σ = min { σ : ε(rate, σ, steps; δ) ≤ ε }      bracket by powers of two, then halve
//! T = max { T : ε(rate, σ, T; δ) ≤ ε }          binary digits from the highest down
//! ```
//! # Contract
//! ε > 0 and finite, 0 < δ < 1, 0 < rate ≤ 1; else, and where no noise would do, an error. The multiplier is the least
//! to a relative 10⁻⁶, rounded up: with it the accountant does not exceed ε.
//!
//! # When it helps, when it hurts
//! A run planned to the end gets the noise it needs and no more. A run that may go on should ask the accountant
//! instead. δ well below one over the number of units is what makes ε mean something: δ = 1/n allows giving one unit
//! away.
//!
//! # Reference
//! Abadi et al.: Deep learning with differential privacy (1607.00133), section 3; the accountant is [`Accountant`].
//!
//! # Deviations from the paper
//! The paper solves for noise by a formula with constants that nobody has pinned down; this searches.

use super::{Accountant, Event};
use crate::base::{Error, Result};

/// How much above the least the multiplier may be.
const TOLERANCE: f64 = 1e-6;

/// Multipliers beyond which noise is not sought.
const RANGE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// The least noise multiplier with which `steps` releases at `rate` stay within (`epsilon`, `delta`).
///
/// ```
/// let multiplier = sordino::privacy::noise_for(2.0, 1e-5, 0.01, 10_000)?;
/// assert!((multiplier - 2.2).abs() < 0.1, "{multiplier}");
/// # Ok::<(), sordino::Error>(())
/// ```
pub fn noise_for(epsilon: f64, delta: f64, rate: f64, steps: u64) -> Result<f64> {
    check(epsilon, delta, rate)?;
    if steps == 0 {
        return Err(Error::request("noise is sought for at least 1 step, not 0"));
    }
    let fits = |multiplier: f64| {
        let spent = Accountant::replay(&[Event { rate, multiplier, count: steps }])?;
        Ok::<bool, Error>(spent.epsilon(delta) <= epsilon)
    };
    let mut enough = 1.0;
    while !fits(enough)? {
        enough *= 2.0;
        if enough > *RANGE.end() {
            return Err(Error::request(format!(
                "no noise multiplier up to {:e} keeps {steps} steps at rate {rate} within epsilon {epsilon} at delta \
                 {delta}; allow a larger epsilon or delta, or take fewer steps",
                RANGE.end()
            )));
        }
    }
    let mut too_little = enough / 2.0;
    while enough > *RANGE.start() && fits(too_little)? {
        enough = too_little;
        too_little /= 2.0;
    }
    while enough - too_little > TOLERANCE * too_little {
        let middle = 0.5 * (too_little + enough);
        if fits(middle)? {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(enough)
}

/// The most releases at `rate` with noise `multiplier` that stay within (`epsilon`, `delta`): 0 if the first exceeds
/// them, at most 2⁶³.
///
/// ```
/// assert_eq!(sordino::privacy::steps_for(1.0, 1e-5, 1.0, 0.5)?, 0);
/// # Ok::<(), sordino::Error>(())
/// ```
pub fn steps_for(epsilon: f64, delta: f64, rate: f64, multiplier: f64) -> Result<u64> {
    check(epsilon, delta, rate)?;
    let mut spent = Accountant::replay(&[Event { rate, multiplier, count: 1 }])?;
    if spent.epsilon(delta) > epsilon {
        return Ok(0);
    }
    let mut steps = 1;
    for digit in (0..63).rev() {
        let mut more = spent.clone();
        more.compose(&Event { rate, multiplier, count: 1 << digit })?;
        if more.epsilon(delta) <= epsilon {
            spent = more;
            steps += 1 << digit;
        }
    }
    Ok(steps)
}

fn check(epsilon: f64, delta: f64, rate: f64) -> Result<()> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(Error::request(format!("an epsilon to keep to is positive and finite, not {epsilon}")));
    }
    if !(delta > 0.0 && delta < 1.0) {
        return Err(Error::request(format!(
            "delta lies between 0 and 1, well below one over the number of units, not {delta}: Gaussian noise hides \
             nothing at delta 0"
        )));
    }
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(Error::request(format!("a sampling rate that costs anything lies in (0, 1], not {rate}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon(rate: f64, multiplier: f64, count: u64, delta: f64) -> f64 {
        Accountant::replay(&[Event { rate, multiplier, count }]).unwrap().epsilon(delta)
    }

    #[test]
    fn the_noise_is_enough_and_a_little_less_is_not() {
        for (target, delta, rate, steps) in [
            (8.0, 1e-5, 0.004, 14_000),
            (1.0, 1e-5, 0.01, 10_000),
            (0.1, 1e-6, 0.001, 100),
            (3.0, 1e-5, 1.0, 1),
            (50.0, 1e-5, 1.0, 3),
            (0.5, 1e-3, 0.5, 20),
        ] {
            let multiplier = noise_for(target, delta, rate, steps).unwrap();
            assert!(epsilon(rate, multiplier, steps, delta) <= target);
            assert!(epsilon(rate, multiplier * (1.0 - 2.0 * TOLERANCE), steps, delta) > target, "{multiplier}");
        }
    }

    #[test]
    fn the_steps_fit_and_one_more_does_not() {
        for (target, delta, rate, multiplier) in
            [(2.6, 1e-5, 0.0043, 1.1), (1.04, 1e-5, 0.01, 4.0), (1.0, 1e-5, 1.0, 30.0), (0.5, 1e-6, 0.3, 40.0)]
        {
            let steps = steps_for(target, delta, rate, multiplier).unwrap();
            assert!(steps > 0 && epsilon(rate, multiplier, steps, delta) <= target);
            assert!(epsilon(rate, multiplier, steps + 1, delta) > target, "{steps}");
        }
    }

    #[test]
    fn noise_and_steps_answer_each_other() {
        for steps in [1, 17, 1000, 123_456] {
            let multiplier = noise_for(2.0, 1e-5, 0.01, steps).unwrap();
            let allowed = steps_for(2.0, 1e-5, 0.01, multiplier).unwrap();
            assert!(allowed >= steps && allowed as f64 <= steps as f64 * 1.001, "{allowed} for {steps}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_in_a_sentence() {
        let refusal = noise_for(1e-9, 1e-15, 1.0, 1000).unwrap_err().to_string();
        assert!(refusal.contains("allow a larger epsilon or delta"), "{refusal}");
        for (epsilon, delta, rate, steps) in [
            (0.0, 1e-5, 0.1, 1),
            (f64::INFINITY, 1e-5, 0.1, 1),
            (1.0, 0.0, 0.1, 1),
            (1.0, 1.0, 0.1, 1),
            (1.0, f64::NAN, 0.1, 1),
            (1.0, 1e-5, 0.0, 1),
            (1.0, 1e-5, 1.5, 1),
            (1.0, 1e-5, 0.1, 0),
        ] {
            assert!(noise_for(epsilon, delta, rate, steps).is_err());
        }
        assert_eq!(steps_for(1.0, 1e-5, 0.1, 0.0).unwrap(), 0);
        assert!(steps_for(1.0, 1e-5, 0.1, -1.0).is_err());
    }
}
