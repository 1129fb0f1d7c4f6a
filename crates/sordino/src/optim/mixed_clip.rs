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
//! The rate is not in here: with T in its place the step is η times the above, and γ anneals with η. A step is at most γ
//! long, with the soft rule shorter than γ and than η‖·‖. ν = 0 is gradient clipping and has no momentum, ν = 1 is
//! momentum clipping. Norms are over all parameters, of what decay made of the gradient. A step counts as clipped where a
//! branch that is used is longer than T; the soft rule shortens the others a little, too.
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
