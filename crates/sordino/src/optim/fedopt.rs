//! `FedOpt`: adaptive steps over rounds, `FedAdam` and `FedYogi`.
//!
//! # What it does
//! Divides a running mean of the agreed displacement by the root of a running second moment, entry by entry.
//!
//! # The step
//! ```text
//! m ← β₁m + (1 − β₁)D
//! v ← β₂v + (1 − β₂)D²                        Adam
//! v ← v − (1 − β₂)D²·sign(v − D²)             Yogi
//! u ← m / (√v + τ)                            m₀ = 0, v₀ = τ²; no bias correction
//! ```
//! # Contract
//! D is subtracted in the end: the paper's pseudo-gradient Δ is −D, and m carries the sign while v does not see it. A
//! rate follows. u has no unit, so a rate is the length of an entry's step where displacements are large against τ, and
//! the step is rate·D/τ at the most where they are small. Yogi's v moves by (1 − β₂)D² a round at the most and stays
//! at least 0.
//!
//! # When it helps, when it hurts
//! Sparse or unequal gradients, many clients of which few are asked. The rate must be tuned anew: 1 is far too much. A
//! small τ makes it a method of signs. Yogi forgets a large D slower than Adam, and rises as fast.
//!
//! # Reference
//! Reddi et al.: Adaptive federated optimization (2003.00295).
//!
//! # Deviations from the paper
//! None; its third method, with Adagrad's second moment, is not here.

use super::{At, Transform};
use crate::base::{Layout, Result, State};

/// How the second moment follows the squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondMoment {
    /// Geometrically.
    Adam,
    /// By steps whose size does not depend on how far it is.
    Yogi,
}

/// Two moments of the displacement over rounds; a rate follows.
#[derive(Clone, Debug)]
pub struct FedOpt {
    kind: SecondMoment,
    betas: (f64, f64),
    tau: f32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl FedOpt {
    /// With decays of the two moments and the adaptivity `tau`.
    pub fn new(kind: SecondMoment, beta1: f64, beta2: f64, tau: f64) -> Self {
        Self { kind, betas: (beta1, beta2), tau: tau as f32, first: Vec::new(), second: Vec::new() }
    }
}

impl Transform for FedOpt {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        let (tau, kind) = (self.tau, self.kind);
        self.first.resize(update.len(), 0.0);
        self.second.resize(update.len(), tau * tau);
        let (b1, b2) = (self.betas.0 as f32, self.betas.1 as f32);
        let (c1, c2) = ((1.0 - self.betas.0) as f32, (1.0 - self.betas.1) as f32);
        for ((m, v), u) in self.first.iter_mut().zip(&mut self.second).zip(update) {
            let square = *u * *u;
            *m = b1 * *m + c1 * *u;
            *v = match kind {
                SecondMoment::Adam => b2 * *v + c2 * square,
                SecondMoment::Yogi if *v > square => *v - c2 * square,
                SecondMoment::Yogi if *v < square => *v + c2 * square,
                SecondMoment::Yogi => *v,
            };
            *u = *m / (v.sqrt() + tau);
        }
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.first, &mut self.second]
    }

    fn reset(&mut self) {
        self.first.fill(0.0);
        self.second.fill(self.tau * self.tau);
    }

    fn save(&self, state: &mut State) {
        if !self.first.is_empty() {
            state.put("first", &self.first);
            state.put("second", &self.second);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        for (name, moment) in [("first", &mut self.first), ("second", &mut self.second)] {
            moment.clear();
            if state.vectors.contains_key(name) {
                moment.resize(layout.len(), 0.0);
                state.take(name, moment)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Element;
    use crate::optim::{Chain, build_outer};

    fn outer(text: &str) -> Chain {
        build_outer(&Element::parse(text).unwrap()).unwrap()
    }

    fn step(chain: &mut Chain, d: f32) -> f64 {
        let (layout, mut update) = (Layout::vector(1), [d]);
        chain.apply(&At::new(&[0.0], &[d], 0.1, 0, &layout), &mut update);
        f64::from(update[0])
    }

    #[test]
    fn the_first_step_is_the_papers() {
        // m = 0.1·0.02 = 0.002; v = 0.99·10⁻⁶ + 0.01·4·10⁻⁴ = 4.99·10⁻⁶, and for Yogi 10⁻⁶ + 4·10⁻⁶.
        let u = step(&mut outer("fedadam(rate=0.5)"), 0.02);
        assert!((u - 0.5 * 0.002 / (4.99e-6f64.sqrt() + 1e-3)).abs() < 1e-6, "{u}");
        let u = step(&mut outer("fedyogi(rate=0.5)"), -0.02);
        assert!((u + 0.5 * 0.002 / (5e-6f64.sqrt() + 1e-3)).abs() < 1e-6, "{u}");
        let corrected = step(&mut outer("adam(rate=0.5)"), 0.02);
        assert!((corrected - u.abs()).abs() > 0.1, "with its bias corrected it is another optimizer: {corrected}");
    }

    #[test]
    fn the_second_moments_are_those_of_the_formulas() {
        for (name, yogi) in [("fedadam", false), ("fedyogi", true)] {
            let mut chain = outer(&format!("{name}(rate=1, beta1=0.5, beta2=0.9, tau=0.1)"));
            let (mut m, mut v) = (0.0f64, 0.01f64);
            for d in [0.3f32, -0.7, 0.01, 0.02, 0.0, -0.05, 0.4, 2.0, 0.1] {
                let wide = f64::from(d);
                let gap = v - wide * wide;
                m = 0.5 * m + 0.5 * wide;
                v = if yogi { v - 0.1 * wide * wide * gap.signum() } else { 0.9 * v + 0.1 * wide * wide };
                let u = step(&mut chain, d);
                assert!((u - m / (v.sqrt() + 0.1)).abs() < 1e-6, "{name}: {u}");
            }
        }
    }

    #[test]
    fn under_a_steady_displacement_a_step_settles_just_below_the_rate() {
        for name in ["fedadam", "fedyogi"] {
            let mut chain = outer(&format!("{name}(rate=0.3, beta1=0)"));
            let steps: Vec<f64> = (0..2000).map(|_| step(&mut chain, -0.5)).collect();
            assert!(steps.iter().all(|u| *u < 0.0));
            // v goes to D² = 0.25, so a step to rate·D/(|D| + tau).
            assert!((steps[1999] + 0.3 * 0.5 / 0.501).abs() < 1e-3, "{name}: {}", steps[1999]);
        }
    }

    #[test]
    fn yogi_forgets_a_large_displacement_slower_than_adam() {
        let after = |name: &str| {
            let mut chain = outer(&format!("{name}(rate=1, beta1=0)"));
            step(&mut chain, 10.0);
            (0..300).map(|_| step(&mut chain, 0.01)).last().unwrap()
        };
        assert!(after("fedadam") > 3.0 * after("fedyogi"));
    }
}
