//! Power: silence grows as a power of the inverse learning rate; its square is QSR.
//!
//! # What it does
//! Speaks less and less as the rate anneals.
//!
//! # The step
//! ```text
//! H = max(H_base, ⌊(α/η)ᵖ⌋)         p = 2: QSR        η: the rate at the round's first step
//! ```
//! # Contract
//! Answers `H_base` in the first round, while warm-up is known to last, and while the rate rose since the previous
//! round. Over a run ΣH = S: the caller clamps the last round.
//!
//! # When it helps, when it hurts
//! Late in a long annealed run most meetings buy little: QSR keeps under a tenth to a fifth of them and often ends
//! flatter. Needs an annealed rate; with a constant one it is `constant`. α is the knob: `auto` takes
//! η_peak·√(1.2·H_base), which at the peak gives the base interval, as the authors' tuned Transformer runs do.
//!
//! # Reference
//! Gu, Lyu, Arora, Zhang, Sha: A quadratic synchronization rule for distributed deep learning (2310.14423).
//!
//! # Deviations from the paper
//! None in the rule. `alpha=auto` is ours.

use super::{Facts, Schedule};
use crate::grammar::{Args, Entry, Key};

const BASE: Key = Key { name: "base", default: "4", about: "H_base: least local steps per round" };
const ALPHA: Key = Key {
    name: "alpha",
    default: "auto",
    about: "growth coefficient, in units of the rate; auto: peak rate times sqrt(1.2 base)",
};

/// The registry's entry for any power.
pub const ENTRY: Entry<Box<dyn Schedule>> = Entry {
    name: "power",
    about: "H = max(base, floor((alpha/rate)^exponent))",
    keys: &[BASE, ALPHA, Key { name: "exponent", default: "1", about: "1 is H ~ 1/rate, 2 is QSR, 3 the cubic rule" }],
    build: |args| build(args, args.positive("exponent")?),
};

/// The registry's entry for QSR.
pub const QSR: Entry<Box<dyn Schedule>> = Entry {
    name: "qsr",
    about: "the quadratic synchronization rule, H = max(base, floor((alpha/rate)^2))",
    keys: &[BASE, ALPHA],
    build: |args| build(args, 2.0),
};

fn build(args: &Args, exponent: f64) -> crate::Result<Box<dyn Schedule>> {
    Ok(Box::new(Power { base: args.count("base", 1)?, alpha: args.positive_or_zero("alpha")?, exponent }))
}

/// Silence as a power of the inverse rate.
#[derive(Clone, Copy, Debug)]
pub struct Power {
    /// Least local steps per round.
    pub base: u64,
    /// Growth coefficient, in units of the rate; 0 is the constant schedule.
    pub alpha: f64,
    /// The power.
    pub exponent: f64,
}

impl Schedule for Power {
    fn silence(&self, facts: &Facts) -> u64 {
        let rising = facts.previous_rate.is_none_or(|before| facts.rate > before);
        if facts.warming || rising || facts.rate <= 0.0 {
            return self.base;
        }
        let ratio = self.alpha / facts.rate;
        let grown = if self.exponent == 2.0 { ratio * ratio } else { libm::pow(ratio, self.exponent) };
        // A float beyond u64 saturates; the caller clamps to the steps left.
        self.base.max(grown as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(schedule: &dyn Schedule, steps: u64, warmup: u64, rate: impl Fn(u64) -> f64) -> Vec<(u64, u64)> {
        let (mut at, mut before, mut all) = (0, None, Vec::new());
        while at < steps {
            let facts = Facts {
                round: all.len() as u64,
                step: at,
                rate: rate(at),
                previous_rate: before,
                steps: Some(steps),
                warming: at < warmup,
                epoch: 1.0,
            };
            let h = super::super::clamped(schedule, &facts);
            all.push((at, h));
            before = Some(facts.rate);
            at += h;
        }
        assert_eq!(at, steps, "the silences add up to the run");
        all
    }

    fn cosine(peak: f64, steps: u64, warmup: u64) -> impl Fn(u64) -> f64 {
        move |t| {
            if t < warmup {
                return 1e-6 + t as f64 * (peak - 1e-6) / warmup as f64;
            }
            let done = (t - warmup) as f64 / (steps - warmup) as f64;
            1e-6 + 0.5 * (peak - 1e-6) * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }

    #[test]
    fn round_counts_are_those_of_the_authors_scheduler() {
        let vit = |base| {
            rounds(&Power { base, alpha: 0.0175, exponent: 2.0 }, 93_600, 10_000, cosine(0.008, 93_600, 10_000)).len()
        };
        assert_eq!((vit(4), vit(8)), (9711, 6461));
        let resnet =
            |base, alpha| rounds(&Power { base, alpha, exponent: 2.0 }, 62_400, 1560, cosine(0.8, 62_400, 1560)).len();
        assert_eq!((resnet(2, 0.2), resnet(4, 0.25)), (24_792, 12_539));
    }

    #[test]
    fn golden_silences_of_the_transformer_run() {
        let s = Power { base: 4, alpha: 0.0175, exponent: 2.0 };
        let rate = cosine(0.008, 93_600, 10_000);
        let at = |step: u64| {
            let facts = Facts {
                round: 1,
                step,
                rate: rate(step),
                previous_rate: Some(1.0),
                steps: Some(93_600),
                warming: step < 10_000,
                epoch: 1.0,
            };
            super::super::clamped(&s, &facts)
        };
        let golden =
            [(10_000, 4), (20_000, 5), (40_000, 9), (60_000, 39), (80_000, 1168), (90_000, 3600), (93_000, 600)];
        for (step, h) in golden {
            assert_eq!(at(step), h, "at step {step}");
        }
    }

    #[test]
    fn without_alpha_it_is_constant_and_after_warm_up_it_never_shrinks() {
        let constant = rounds(&Power { base: 4, alpha: 0.0, exponent: 2.0 }, 1001, 0, cosine(0.1, 1001, 0));
        assert_eq!(constant.len(), 251);
        let qsr = rounds(&Power { base: 2, alpha: 0.2, exponent: 2.0 }, 5000, 100, cosine(0.1, 5000, 100));
        let grown: Vec<u64> = qsr.iter().filter(|(t, _)| *t > 102).map(|(_, h)| *h).collect();
        let (last, rest) = grown.split_last().unwrap();
        assert!(rest.windows(2).all(|w| w[0] <= w[1]), "{grown:?}");
        assert!(*last >= 1);
        // Control: the inverse rule talks more than the square rule with the same coefficient late in the run.
        assert!(
            rounds(&Power { base: 2, alpha: 0.2, exponent: 1.0 }, 5000, 100, cosine(0.1, 5000, 100)).len() > qsr.len()
        );
    }
}
