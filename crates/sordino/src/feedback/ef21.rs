//! EF21: both ends hold a copy of what the worker last meant; only differences travel.
//!
//! # What it does
//! Sends the compressed difference between an offer and a shift, and moves the shift by it at both ends.
//!
//! # The step
//! ```text
//! compensate   v ← (1 − β)v + β·offer ;  given = v − h          (β = 1: given = offer − h)
//! settle       h ← h + β̂·said
//! restore      h̄ ← h̄ + β̂·(share of workers that spoke)·agreed ;  agreed ← h̄
//! ```
//! # Contract
//! β is `momentum`, β̂ is `step`. h (and v, where β < 1) is one vector per worker, h̄ its mean, held by every rank (the server's copy); both start at 0. With the mean as
//! aggregator h̄ equals the mean of all h to rounding. Clipping as the compressor makes it Clip21; clipping inside
//! another compressor Press-Clip21.
//!
//! # When it helps, when it hurts
//! With full local gradients it converges linearly on strongly convex problems for any contraction, and Clip21 does
//! so for any clipping threshold: once the differences are short enough nothing is clipped any more. With noisy
//! gradients and small batches the differences never vanish.
//!
//! # Reference
//! Richtárik, Sokolov, Fatkhullin: EF21 (2106.05203). Khirirat et al.: Clip21 (2305.18929). With momentum: Fatkhullin,
//! Tyurin, Richtárik: EF21-SGDM (2305.15155); with momentum and a step below 1 over clipping: Clip21-SGD2M (2502.11682).
//!
//! # Deviations from the paper
//! h starts at 0, so the first message is C(offer), one of the paper's two choices.

use super::{Feedback, load_lazy};
use crate::base::{Former, Layout, Result, State, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Feedback>> = Entry {
    name: "ef21",
    about: "compressed differences to a shift that both ends hold",
    keys: &[
        Key {
            name: "momentum",
            default: "1",
            about: "beta of v = (1 - beta) v + beta offer, what is compared with the shift",
        },
        Key { name: "step", default: "1", about: "how far a shift moves along what was said" },
    ],
    build: |args| {
        let (momentum, step) = (args.share("momentum")? as f32, args.share("step")? as f32);
        Ok(Box::new(Ef21 { momentum, step, ..Ef21::default() }))
    },
};

/// The two shifts.
#[derive(Clone, Debug)]
pub struct Ef21 {
    momentum: f32,
    step: f32,
    /// v, where there is momentum.
    smooth: Vec<f32>,
    mine: Vec<f32>,
    mean: Vec<f32>,
}

impl Default for Ef21 {
    fn default() -> Self {
        Self { momentum: 1.0, step: 1.0, smooth: Vec::new(), mine: Vec::new(), mean: Vec::new() }
    }
}

impl Feedback for Ef21 {
    fn compensate(&mut self, offer: &mut [f32]) {
        if self.momentum < 1.0 {
            self.smooth.resize(offer.len(), 0.0);
            let (keep, take) = (1.0 - self.momentum, self.momentum);
            for (v, x) in self.smooth.iter_mut().zip(&mut *offer) {
                *v = keep * *v + take * *x;
                *x = *v;
            }
        }
        offer.iter_mut().zip(&self.mine).for_each(|(x, h)| *x -= h);
    }

    fn settle(&mut self, given: &[f32], said: &[f32]) {
        self.mine.resize(given.len(), 0.0);
        if self.step == 1.0 {
            flat::add(&mut self.mine, said);
        } else {
            flat::add_scaled(&mut self.mine, self.step, said);
        }
    }

    fn restore(&mut self, agreed: &mut [f32], share: f32) {
        self.mean.resize(agreed.len(), 0.0);
        let move_by = self.step * share;
        if move_by == 1.0 {
            flat::add(&mut self.mean, agreed);
        } else {
            flat::add_scaled(&mut self.mean, move_by, agreed);
        }
        agreed.copy_from_slice(&self.mean);
    }

    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("shift", &mut self.mine), ("smooth", &mut self.smooth)]
    }

    fn norm(&self) -> Option<f64> {
        (!self.mine.is_empty()).then(|| flat::norm(&self.mine))
    }

    fn save(&self, state: &mut State) {
        for (name, vector) in [("shift", &self.mine), ("mean_shift", &self.mean), ("smooth", &self.smooth)] {
            if !vector.is_empty() {
                state.put(name, vector);
            }
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        load_lazy(state, "shift", &mut self.mine, layout)?;
        load_lazy(state, "smooth", &mut self.smooth, layout)?;
        load_lazy(state, "mean_shift", &mut self.mean, layout)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        let mut state = former.same_but(&["shift", "smooth"])?;
        former.put_mean("shift", former.crowd(), &mut state)?;
        former.put_mean("smooth", 1.0, &mut state)?;
        Ok(state)
    }
}
