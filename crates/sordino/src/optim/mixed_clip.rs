//! Mixed clip: a clipped momentum and a clipped gradient, mixed.
//!
//! # What it does
//! Goes partly along an average of all gradients and partly along the last one, each shortened by its own norm.
//!
//! # The step
//! ```text
//! m ← βm + (1 − β)g                          m starts at 0, g with decay
//! hard   cut(u) = min(1, T/‖u‖)·u            T = γ/η, so η·cut(u) = min(η, γ/‖u‖)·u
//! soft   cut(u) = u / (1 + ‖u‖/T)            and η·cut(u) = ηu/(1 + η‖u‖/γ)
//! u ← ν·cut(m) + (1 − ν)·cut(g)
//! ```
//! # Contract
//! The rate is not in here: T stands for both, the step is η times the above, and γ anneals with η. A step is at most
//! γ long, with the soft rule shorter than γ and than η‖·‖. ν = 0 is gradient clipping and has no momentum, ν = 1 is
//! momentum clipping. Norms are over all parameters, of what decay made of the gradient. A step counts as clipped where
//! a branch that is used is longer than T; the soft rule shortens the others a little, too.
//!
//! # When it helps, when it hurts
//! Where smoothness grows with the gradient, as in recurrent networks, and noise is large. With β = 0.999 the momentum
//! hardly moves in the first hundreds of steps, which is what the branch of the raw gradient is for: ν = 1 asks for a
//! smaller β. Clip the averaged gradient: clipping on every worker first has another fixed point.
//!
//! # Reference
//! Zhang, Jin, Fang, Wang: Improved analysis of clipping algorithms for non-convex optimization (2010.02519).
//!
//! # Deviations from the paper
//! None: `soft` is what the authors' code does for mixed and momentum clipping, `hard` what the paper analyses.

use super::{At, Transform};
use crate::base::{Layout, Result, State, flat};

/// How a vector is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Smoothly: a little always, to below the threshold always.
    Soft,
    /// To the threshold, where it is longer.
    Hard,
}

/// Clipped momentum and clipped gradient, mixed; a rate follows.
#[derive(Clone, Debug)]
pub struct MixedClip {
    nu: f64,
    beta: f64,
    threshold: f64,
    form: Form,
    momentum: Vec<f32>,
    clipped: u64,
}

impl MixedClip {
    /// With the momentum's share `nu`, its decay `beta`, and `threshold` = γ/η on norms.
    pub fn new(nu: f64, beta: f64, threshold: f64, form: Form) -> Self {
        Self { nu, beta, threshold, form, momentum: Vec::new(), clipped: 0 }
    }

    /// What shortens a vector of length `norm`.
    fn cut(&self, norm: f64) -> f64 {
        match self.form {
            Form::Soft => 1.0 / (1.0 + norm / self.threshold),
            Form::Hard if norm > self.threshold => self.threshold / norm,
            Form::Hard => 1.0,
        }
    }
}

impl Transform for MixedClip {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        let (mut long, mut own) = (false, 0.0);
        if self.nu < 1.0 {
            let norm = flat::norm(update);
            own = (1.0 - self.nu) * self.cut(norm);
            long = norm > self.threshold;
        }
        if self.nu > 0.0 {
            self.momentum.resize(update.len(), 0.0);
            let (keep, take) = (self.beta as f32, (1.0 - self.beta) as f32);
            for (m, g) in self.momentum.iter_mut().zip(&*update) {
                *m = keep * *m + take * *g;
            }
            let norm = flat::norm(&self.momentum);
            long |= norm > self.threshold;
            let (own, past) = (own as f32, (self.nu * self.cut(norm)) as f32);
            for (u, m) in update.iter_mut().zip(&self.momentum) {
                *u = past * *m + own * *u;
            }
        } else {
            flat::scale(update, own as f32);
        }
        self.clipped += u64::from(long);
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        if self.nu > 0.0 { vec![&mut self.momentum] } else { Vec::new() }
    }

    fn clipped_steps(&mut self) -> u64 {
        std::mem::take(&mut self.clipped)
    }

    fn save(&self, state: &mut State) {
        if !self.momentum.is_empty() {
            state.put("momentum", &self.momentum);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.momentum.clear();
        if state.vectors.contains_key("momentum") {
            self.momentum.resize(layout.len(), 0.0);
            state.take("momentum", &mut self.momentum)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Stream, Use};
    use crate::grammar::Element;
    use crate::optim::Chain;

    fn draw(what: u64, scale: f32) -> Vec<f32> {
        let mut stream = Stream::new(6, Use::Problem, what, 0);
        (0..9).map(|_| scale * stream.normal()).collect()
    }

    fn run(keys: &str, scale: f32, rate: f64) -> (Chain, Vec<Vec<f32>>) {
        let text = format!("mixclip(rate=0.5, schedule=constant, {keys})");
        let mut chain = super::super::build(&Element::parse(&text).unwrap()).unwrap().chain;
        let (layout, x) = (Layout::vector(9), draw(0, 1.0));
        let steps = (1..20).map(|i| {
            let g = draw(i, scale);
            let mut update = g.clone();
            chain.apply(&At::new(&x, &g, rate, i, &layout), &mut update);
            update
        });
        let steps = steps.collect();
        (chain, steps)
    }

    #[test]
    fn no_step_is_longer_than_gamma_which_anneals_with_the_rate() {
        for keys in ["form=soft, gamma=2", "form=hard, gamma=2", "nu=0, gamma=2", "nu=1, beta=0, form=hard, gamma=2"] {
            for scale in [0.1, 1.0, 1e6] {
                for (rate, gamma) in [(0.5, 2.0), (0.05, 0.2)] {
                    let (_, steps) = run(keys, scale, rate);
                    assert!(steps.iter().all(|u| flat::norm(u) <= gamma * (1.0 + 1e-6)), "{keys}, times {scale}");
                }
            }
        }
        for keys in ["nu=0", "nu=0, form=hard", "nu=1, beta=0"] {
            let (mut chain, steps) = run(keys, 1e6, 0.5);
            assert!(steps.iter().all(|u| (flat::norm(u) - 1.0).abs() < 1e-5), "{keys}: a huge loss saturates at gamma");
            assert_eq!(chain.clipped_steps(), 19);
        }
    }

    #[test]
    fn small_gradients_make_plain_steps() {
        let (scale, rate) = (1e-4f32, 0.5);
        let (mut chain, steps) = run("nu=0.7, beta=0", scale, rate);
        for (i, u) in (1..).zip(&steps) {
            let g = draw(i, scale);
            let plain: Vec<f32> = g.iter().map(|v| 0.5 * v).collect();
            // 1 - 1/(1 + y) < y, with y the plain step's length over gamma = 1.
            let bound = rate * flat::norm(&g) + 1e-6;
            assert!(flat::distance(u, &plain) <= bound * flat::norm(&plain));
            assert!(flat::norm(u) < flat::norm(&plain), "the soft rule always shortens");
        }
        assert_eq!(chain.clipped_steps(), 0);
    }

    #[test]
    fn without_its_share_momentum_is_not_there() {
        let (mut chain, one) = run("nu=0, beta=0.999", 3.0, 0.5);
        assert_eq!(one, run("nu=0, beta=0", 3.0, 0.5).1);
        assert!(chain.moments().is_empty());
        assert_ne!(run("nu=0.1, beta=0.999", 3.0, 0.5).1, run("nu=0.1, beta=0", 3.0, 0.5).1);
    }

    #[test]
    fn both_rules_are_those_of_the_formula() {
        for (form, soft) in [("soft", true), ("hard", false)] {
            let (rate, gamma, nu, beta, decay) = (0.5, 0.8, 0.7, 0.6, 0.1);
            let keys = format!("form={form}, gamma=0.8, nu={nu}, beta={beta}, decay={decay}");
            let (_, steps) = run(&keys, 1.0, rate);
            let (x, mut m) = (draw(0, 1.0), [0.0f64; 9]);
            let norm = |v: &[f64]| v.iter().map(|a| a * a).sum::<f64>().sqrt();
            let pace = |v: &[f64]| {
                if soft { rate / (1.0 + rate * norm(v) / gamma) } else { rate.min(gamma / norm(v)) }
            };
            for (i, u) in (1..).zip(&steps) {
                let decayed = |(g, x): (&f32, &f32)| f64::from(*g) + decay * f64::from(*x);
                let g: Vec<f64> = draw(i, 1.0).iter().zip(&x).map(decayed).collect();
                m.iter_mut().zip(&g).for_each(|(m, g)| *m = beta * *m + (1.0 - beta) * g);
                let (past, own) = (nu * pace(&m), (1.0 - nu) * pace(&g));
                for j in 0..9 {
                    assert!((f64::from(u[j]) - (past * m[j] + own * g[j])).abs() < 1e-6, "{form}");
                }
            }
        }
    }

    #[test]
    fn a_share_above_one_is_refused() {
        let text = "mixclip(rate=1, nu=1.5, schedule=constant)";
        let message = super::super::build(&Element::parse(text).unwrap()).err().unwrap().to_string();
        assert!(message.contains("at most 1"), "{message}");
    }
}
