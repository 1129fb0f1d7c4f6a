//! Accountant: composes subsampled Gaussian mechanisms by Rényi differential privacy.
//!
//! # What it does
//! Adds up what every noisy release costs at 156 Rényi orders, and converts the sums into the smallest ε at a given δ.
//!
//! # The step
//! ```text
//! ε(α) ← Σ over events: count·ε_event(α)                        compose; ε_event in `accountant/renyi.rs`
//! ε(δ) = min over α:  ε(α) + ln((α−1)/α) − (ln δ + ln α)/(α−1)  convert
//! ε(δ) = 0            where δ² > 1 − exp(−ε(α)) at any α        total variation bounded by divergence
//! ```
//! # Contract
//! Rates are probabilities in [0, 1], each unit drawn by itself (*Poisson*); multipliers are noise deviations over
//! sensitivity, ≥ 0; events outside are refused. Neighbours add or remove one unit. A multiplier of 0 costs infinity,
//! a rate of 0 nothing. Spent ε never falls. History is plain events: replayed, they give the same bits.
//!
//! # When it helps, when it hurts
//! Tight for many steps at small rates, which is what training is. Sampling that is not Poisson - an epoch in shuffled
//! order, a batch of fixed size - is *not* covered by a rate below 1. For few steps, or ε in the tens, an accountant
//! by privacy loss distributions proves a smaller ε for the same noise.
//!
//! # Reference
//! Mironov, Talwar, Zhang: Rényi differential privacy of the sampled Gaussian mechanism (1908.10530). Conversion:
//! Canonne, Kamath, Steinke: The discrete Gaussian for differential privacy (2004.00010), proposition 12. The classic
//! conversion: Mironov: Rényi differential privacy (1702.07476), proposition 3.
//!
//! # Deviations from the paper
//! At fractional orders the series is summed in absolute values, see `accountant/renyi.rs`: never below the truth, and
//! what Google's `dp-accounting` does, with whose default orders, and so with whose ε, this agrees.

mod renyi;

use crate::base::{Error, Result};

/// So many equal releases of a sum with Gaussian noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// The probability with which each unit took part, in [0, 1].
    pub rate: f64,
    /// Deviation of the noise over the sum's sensitivity.
    pub multiplier: f64,
    /// How many such releases.
    pub count: u64,
}

/// What has been spent so far.
#[derive(Clone, Debug, Default)]
pub struct Accountant {
    history: Vec<Event>,
    /// What one release of each event costs, by order.
    costs: Vec<Vec<f64>>,
}

impl Accountant {
    /// Nothing spent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spent what these events cost.
    pub fn replay(history: &[Event]) -> Result<Self> {
        let mut accountant = Self::new();
        for event in history {
            accountant.compose(event)?;
        }
        Ok(accountant)
    }

    /// Everything that was composed, equal events in one.
    pub fn history(&self) -> &[Event] {
        &self.history
    }

    /// Adds an event to what was spent.
    pub fn compose(&mut self, event: &Event) -> Result<()> {
        let Event { rate, multiplier, count } = *event;
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::request(format!("a sampling rate is a probability in [0, 1], not {rate}")));
        }
        if multiplier.is_nan() || multiplier < 0.0 {
            return Err(Error::request(format!("a noise multiplier is at least 0, not {multiplier}")));
        }
        if count == 0 {
            return Ok(());
        }
        if let Some(same) = self.history.iter_mut().find(|e| e.rate == rate && e.multiplier == multiplier) {
            same.count = same.count.checked_add(count).ok_or_else(|| {
                Error::request(format!("{} and {count} releases are more than 64 bits count", same.count))
            })?;
        } else {
            self.history.push(*event);
            self.costs.push(renyi::orders().map(|order| renyi::cost(rate, multiplier, order)).collect());
        }
        Ok(())
    }

    /// The smallest ε at this δ; infinite where δ is 0 and anything was spent.
    pub fn epsilon(&self, delta: f64) -> f64 {
        if delta >= 1.0 {
            return 0.0;
        }
        let at = |(order, spent): (f64, f64)| {
            if spent == 0.0 || delta * delta + libm::expm1(-spent) > 0.0 {
                return 0.0;
            }
            spent + libm::log1p(-1.0 / order) - (libm::log(delta) + libm::log(order)) / (order - 1.0)
        };
        smallest(self.spent().map(at)).max(0.0)
    }

    /// ε by the conversion that came first, never below [`Accountant::epsilon`]: for comparison with older numbers.
    pub fn epsilon_classic(&self, delta: f64) -> f64 {
        if delta >= 1.0 || self.spent().all(|(_, spent)| spent == 0.0) {
            return 0.0;
        }
        smallest(self.spent().map(|(order, spent)| spent - libm::log(delta) / (order - 1.0)))
    }

    /// The smallest δ at this ε; 1, which promises nothing, for a negative ε.
    pub fn delta(&self, epsilon: f64) -> f64 {
        if epsilon.is_nan() || epsilon < 0.0 {
            return 1.0;
        }
        let at = |(order, spent): (f64, f64)| {
            if spent == 0.0 {
                return f64::NEG_INFINITY;
            }
            let by_divergence = 0.5 * libm::log1p(-libm::exp(-spent));
            let by_order = (order - 1.0) * (spent - epsilon + libm::log1p(-1.0 / order)) - libm::log(order);
            by_divergence.min(by_order)
        };
        libm::exp(smallest(self.spent().map(at))).min(1.0)
    }

    /// Every order with what was spent at it.
    fn spent(&self) -> impl Iterator<Item = (f64, f64)> {
        renyi::orders().enumerate().map(|(i, order)| {
            let costs = self.costs.iter().map(|cost| cost[i]);
            (order, self.history.iter().zip(costs).map(|(event, cost)| event.count as f64 * cost).sum())
        })
    }
}

/// The smallest of some numbers, infinity if there is none; what is not a number is not small.
fn smallest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(rate: f64, multiplier: f64, count: u64) -> Accountant {
        Accountant::replay(&[Event { rate, multiplier, count }]).unwrap()
    }

    #[test]
    fn published_settings_cost_what_is_published() {
        // Computed apart, with integer orders 2..=256 and to two digits. Orders between integers can only lower ε, here
        // by less than 0.005, and both ends are rounded: 0.01 covers the two.
        let mnist = 256.0 / 60_000.0;
        for (rate, multiplier, count, classic, tight) in
            [(mnist, 1.1, 14_062, 3.01, 2.60), (0.01, 4.0, 10_000, 1.26, 1.04), (mnist, 1.3, 3_515, 1.19, 0.95)]
        {
            let spent = spent(rate, multiplier, count);
            assert!((spent.epsilon_classic(1e-5) - classic).abs() < 0.01, "{}", spent.epsilon_classic(1e-5));
            assert!((spent.epsilon(1e-5) - tight).abs() < 0.01, "{}", spent.epsilon(1e-5));
        }
    }

    #[test]
    fn without_sampling_the_order_is_the_best_one() {
        // At rate 1 the minimum over all real α is known: 1/2σ² + √(2 ln(1/δ))/σ.
        let (multiplier, delta) = (2.0, 1e-5);
        let best = 1.0 / 8.0 + libm::sqrt(2.0 * libm::log(1.0 / delta)) / multiplier;
        assert!((spent(1.0, multiplier, 1).epsilon_classic(delta) - best).abs() < 1e-3);
    }

    #[test]
    fn more_steps_less_noise_and_larger_rates_cost_more() {
        for (rate, multiplier) in [(0.001, 0.8), (0.01, 1.0), (0.2, 2.0), (1.0, 20.0)] {
            let base = spent(rate, multiplier, 500);
            for dearer in [
                spent(rate, multiplier, 501),
                spent(rate, multiplier * 0.99, 500),
                spent((rate * 1.01).min(1.0), multiplier * 0.999, 500),
            ] {
                for delta in [1e-3, 1e-5, 1e-9] {
                    assert!(dearer.epsilon(delta) > base.epsilon(delta), "{rate} {multiplier} {delta}");
                }
                assert!(dearer.delta(1.0) >= base.delta(1.0));
            }
            assert!(base.epsilon(1e-6) > base.epsilon(1e-5) && base.epsilon_classic(1e-5) > base.epsilon(1e-5));
        }
    }

    #[test]
    fn what_was_spent_never_falls() {
        let (mut accountant, mut last) = (Accountant::new(), 0.0);
        for i in 0..60u64 {
            let rate = [0.0, 1e-9, 0.01, 1.0][i as usize % 4];
            accountant.compose(&Event { rate, multiplier: 100.0 / (1 + i / 8) as f64, count: i % 5 }).unwrap();
            let now = accountant.epsilon(1e-5);
            assert!(now >= last);
            last = now;
        }
        assert!(last > 0.0);
    }

    #[test]
    fn free_and_ruinous_events_are_both_known() {
        assert_eq!(Accountant::new().epsilon(0.0), 0.0);
        assert_eq!(Accountant::new().delta(0.0), 0.0);
        let free = spent(0.0, 0.0, 5);
        assert_eq!((free.epsilon(1e-5), free.epsilon_classic(1e-5), free.delta(0.0)), (0.0, 0.0, 0.0));
        let bare = spent(0.5, 0.0, 1);
        assert_eq!(
            (bare.epsilon(1e-5), bare.epsilon_classic(1e-5), bare.delta(9.0)),
            (f64::INFINITY, f64::INFINITY, 1.0)
        );
        let some = spent(0.5, 1.0, 1);
        assert_eq!((some.epsilon(0.0), some.epsilon(f64::NAN), some.epsilon(1.0)), (f64::INFINITY, f64::INFINITY, 0.0));
    }

    #[test]
    fn delta_and_epsilon_are_inverse() {
        for (rate, multiplier, count) in [(0.01, 1.0, 1000), (1.0, 5.0, 10), (0.2, 3.0, 100)] {
            let spent = spent(rate, multiplier, count);
            for delta in [1e-4, 1e-6, 1e-10] {
                let back = spent.delta(spent.epsilon(delta));
                assert!((back / delta - 1.0).abs() < 1e-9, "{back} for {delta}");
            }
        }
    }

    #[test]
    fn a_history_replayed_gives_the_same_bits() {
        let mut accountant = Accountant::new();
        for i in 0..9 {
            accountant.compose(&Event { rate: 0.01, multiplier: [1.0, 1.5, 2.0][i % 3], count: 7 }).unwrap();
        }
        assert_eq!(accountant.history().len(), 3);
        assert!(accountant.history().iter().all(|e| e.count == 21));
        let again = Accountant::replay(accountant.history()).unwrap();
        assert_eq!(again.epsilon(1e-5).to_bits(), accountant.epsilon(1e-5).to_bits());
    }

    #[test]
    fn impossible_events_are_refused() {
        for (rate, multiplier) in [(-0.1, 1.0), (1.1, 1.0), (f64::NAN, 1.0), (0.5, -1.0), (0.5, f64::NAN)] {
            assert!(Accountant::new().compose(&Event { rate, multiplier, count: 1 }).is_err());
        }
        let mut full = spent(0.1, 1.0, u64::MAX);
        assert!(full.compose(&Event { rate: 0.1, multiplier: 1.0, count: 1 }).is_err());
    }
}
