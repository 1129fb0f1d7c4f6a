//! Residual: error feedback with a look ahead of one number λ. EF is λ = 0, SAEF λ = 1, DEF between, ACPD σ'.
//!
//! # What it does
//! Adds to every offer what earlier messages left out, and takes gradients where the model would be if part of it had
//! been said.
//!
//! # The step
//! ```text
//! share        e ← mean of all e            in rounds r with (r + 1) mod P = 0
//! look ahead   start at x − λ·e
//! compensate   given = offer + e
//! settle       e ← given − said
//! ```
//! # Contract
//! e has the unit of the payload, one vector per worker; given = said + e. Look-ahead needs an offer in parameter
//! units; `lambda=auto` is how many times its own moves local work takes: σ' for dual ascent, else 0. With δ-contractive
//! codes e stays bounded. P = 0 never shares; sharing costs one dense average.
//!
//! # When it helps, when it hurts
//! Makes any contractive compressor converge. λ = 1 keeps plain SGD's stability limit, where λ = 0 diverges at larger
//! rates; at very small rates λ = 0 is a little better.
//!
//! # Reference
//! EF: Seide et al. (2014), Karimireddy et al. (1901.09847). SAEF: Xu, Huo, Huang, Step-ahead error feedback
//! (2008.05823). DEF: Xu, Huang, Detached error feedback (2004.05298v3).
//!
//! # Deviations from the paper
//! The model before the first step is x₀, as in the authors' second implementation (their first starts from 0). Which
//! reading of DEF's evaluation point is DEF and which DEF-A is not decided by any source: `evaluate=mean` (x minus the
//! mean residual) and `evaluate=x` are both here.

use super::{Feedback, load_lazy};
use crate::base::{Former, Layout, Result, State};
use crate::grammar::{Element, Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Feedback>> = Entry {
    name: "residual",
    about: "error feedback; lambda 0 is EF, 1 is SAEF, between is DEF",
    keys: &[
        Key {
            name: "lambda",
            default: "0",
            about: "how much of the residual to step ahead of, at least 0; auto: sigma' where local=dual, else 0",
        },
        Key { name: "every", default: "0", about: "averaging period P in rounds; 0 never averages residuals" },
        Key {
            name: "evaluate",
            default: "x",
            about: "evaluate and save the model at x, or at x minus the mean residual",
        },
    ],
    build: |args| {
        let auto = args.element("lambda").is_ok_and(|lambda| *lambda == Element::word("auto"));
        Ok(Box::new(Residual {
            lambda: if auto { 0.0 } else { args.positive_or_zero("lambda")? as f32 },
            auto,
            every: args.count("every", 0)?,
            ahead: args.choice("evaluate", &["x", "mean"])? == 1,
            kept: Vec::new(),
        }))
    },
};

/// Error feedback with look-ahead.
#[derive(Clone, Debug, Default)]
pub struct Residual {
    lambda: f32,
    /// Whether λ is what local work paces.
    auto: bool,
    every: u64,
    ahead: bool,
    kept: Vec<f32>,
}

impl Residual {
    /// With look-ahead λ and averaging period P (0: never).
    pub fn new(lambda: f32, every: u64) -> Self {
        Self { lambda, every, ..Self::default() }
    }
}

impl Feedback for Residual {
    fn pace(&mut self, ahead: f64) {
        if self.auto {
            self.lambda = ahead as f32;
        }
    }

    fn share(&mut self, round: u64) -> Option<&mut Vec<f32>> {
        // In round 0 nothing is owed yet, by anybody.
        (self.every > 0 && (round + 1).is_multiple_of(self.every) && !self.kept.is_empty()).then_some(&mut self.kept)
    }

    fn look_ahead(&self, start: &mut [f32]) {
        if self.lambda == 1.0 {
            start.iter_mut().zip(&self.kept).for_each(|(x, e)| *x -= e);
        } else if self.lambda > 0.0 {
            start.iter_mut().zip(&self.kept).for_each(|(x, e)| *x -= self.lambda * e);
        }
    }

    fn compensate(&mut self, offer: &mut [f32]) {
        offer.iter_mut().zip(&self.kept).for_each(|(x, e)| *x += e);
    }

    fn settle(&mut self, given: &[f32], said: &[f32]) {
        self.kept.resize(given.len(), 0.0);
        for ((e, g), s) in self.kept.iter_mut().zip(given).zip(said) {
            *e = g - s;
        }
    }

    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("residual", &mut self.kept)]
    }

    fn owed(&self) -> Option<&[f32]> {
        (!self.kept.is_empty()).then_some(&self.kept[..])
    }

    fn evaluates_ahead(&self) -> bool {
        self.ahead
    }

    fn looks_ahead(&self) -> bool {
        self.lambda > 0.0
    }

    fn save(&self, state: &mut State) {
        if !self.kept.is_empty() {
            state.put("residual", &self.kept);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        load_lazy(state, "residual", &mut self.kept, layout)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        let mut state = State::default();
        former.put_mean("residual", former.crowd(), &mut state)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_said_or_kept() {
        let mut ef = Residual::new(0.5, 3);
        let mut offer = [1.0, 2.0];
        ef.compensate(&mut offer);
        ef.settle(&offer, &[1.0, 0.0]);
        let mut start = [10.0, 10.0];
        ef.look_ahead(&mut start);
        assert_eq!(start, [10.0, 9.0]);
        let mut offer = [0.0, 1.0];
        ef.compensate(&mut offer);
        assert_eq!(offer, [0.0, 3.0]);
        assert!(ef.share(1).is_none() && ef.share(2).is_some() && ef.share(3).is_none() && ef.share(5).is_some());
    }
}
