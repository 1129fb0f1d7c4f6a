//! EF21: both ends hold a copy of what the worker last meant; only differences travel.
//!
//! # What it does
//! Sends the compressed difference between an offer and a shift, and moves the shift by it at both ends.
//!
//! # The step
//! ```text
//! compensate   given = offer − h
//! settle       h ← h + said
//! restore      h̄ ← h̄ + (share of workers that spoke)·agreed ;  agreed ← h̄
//! ```
//! # Contract
//! h is one vector per worker, h̄ its mean, held by every rank (the server's copy); both start at 0. With the mean as
//! aggregator h̄ equals the mean of all h to rounding. Clipping as the compressor makes it Clip21; clipping inside
//! another compressor Press-Clip21.
//!
//! # When it helps, when it hurts
//! With full local gradients it converges linearly on strongly convex problems for any contraction, and Clip21 does
//! so for any clipping threshold: once the differences are short enough nothing is clipped any more. With noisy
//! gradients and small batches the differences never vanish.
//!
//! # Reference
//! Richtárik, Sokolov, Fatkhullin: EF21 (2106.05203). Khirirat et al.: Clip21 (2305.18929).
//!
//! # Deviations from the paper
//! h starts at 0, so the first message is C(offer), one of the paper's two choices.

use super::{Feedback, load_lazy};
use crate::base::{Layout, Result, State, flat};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Feedback>> = Entry {
    name: "ef21",
    about: "compressed differences to a shift that both ends hold",
    keys: &[],
    build: |_| Ok(Box::new(Ef21::default())),
};

/// The two shifts.
#[derive(Clone, Debug, Default)]
pub struct Ef21 {
    mine: Vec<f32>,
    mean: Vec<f32>,
}

impl Feedback for Ef21 {
    fn compensate(&mut self, offer: &mut [f32]) {
        offer.iter_mut().zip(&self.mine).for_each(|(x, h)| *x -= h);
    }

    fn settle(&mut self, given: &[f32], said: &[f32]) {
        self.mine.resize(given.len(), 0.0);
        flat::add(&mut self.mine, said);
    }

    fn restore(&mut self, agreed: &mut [f32], share: f32) {
        self.mean.resize(agreed.len(), 0.0);
        if share == 1.0 {
            flat::add(&mut self.mean, agreed);
        } else {
            flat::add_scaled(&mut self.mean, share, agreed);
        }
        agreed.copy_from_slice(&self.mean);
    }

    fn norm(&self) -> Option<f64> {
        (!self.mine.is_empty()).then(|| flat::norm(&self.mine))
    }

    fn save(&self, state: &mut State) {
        for (name, vector) in [("shift", &self.mine), ("mean_shift", &self.mean)] {
            if !vector.is_empty() {
                state.put(name, vector);
            }
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        load_lazy(state, "shift", &mut self.mine, layout)?;
        load_lazy(state, "mean_shift", &mut self.mean, layout)
    }
}
