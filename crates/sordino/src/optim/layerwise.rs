//! Layerwise: every tensor at a pace of its own: LARS, CLARS and LAMB.
//!
//! # What it does
//! Scales each tensor's update, so that its step has to do with the size of the tensor and not of its gradient.
//!
//! # The step
//! ```text
//! LARS    s = τ‖w‖ / (‖G‖ + ε)                 G: the gradient with decay, what the inner chain is given
//! CLARS   s = min(c, LARS's s · ‖G‖/(A + ε))   A: the mean of the norms of micro-batch gradients, no decay in it
//! LAMB    s = min(‖w‖, 10) / ‖r‖               r: what the inner chain made, Adam's direction with decay
//! u ← s·inner(u)                               norms per tensor; s = 1 for biases and norms
//! ```
//! # Contract
//! The *present* s multiplies what momentum left: it is no part of the buffer. LARS has s = 1 where ‖w‖ or ‖G‖ is 0,
//! and CLARS goes on from that 1; LAMB has s = 1 where ‖w‖ or ‖r‖ is 0. A is the aside `micro_norms`, one number a
//! parameter tensor in the layout's order; where it did not come CLARS falls back to LARS's own s, without the cap.
//! Decay joins the gradient of every tensor under LARS and CLARS, and the direction of weights alone under LAMB.
//! Without momentum and decay LARS steps ητ‖w‖ whatever the gradient, CLARS that times ‖mean g‖/mean‖g‖ ≤ 1, and LAMB,
//! momentum or not, η‖w‖ up to ‖w‖ = 10. Scaling the loss changes nothing but the weight of ε. `max_norm` therefore
//! says little here; it does not shorten A.
//!
//! # When it helps, when it hurts
//! Very large batches, where one rate is too much for some tensors and too little for others. Gradients that disagree
//! shorten CLARS's steps, so it needs no warm-up. A tensor that starts at or near 0 hardly moves; compression and
//! noise distort ‖G‖ and with it s.
//!
//! # Reference
//! LARS: You, Gitman, Ginsburg (1708.03888). CLARS: Huo, Gu, Huang: Large batch optimization for deep learning using
//! new complete layer-wise adaptive rate scaling (2002.01576). LAMB: You et al. (1904.00962).
//!
//! # Deviations from the paper
//! LARS and CLARS follow the authors' code of CLARS, which decays biases and norms as well; the paper of LARS leaves
//! them out and keeps the rate inside the momentum, which is the same while the rate and s do not change. That code
//! measures A on 64 further batches of 8 after each step, at the new weights; here A comes with the gradient, from the
//! micro-batches it is the mean of. Its switch from CLARS to LARS after some epochs is left out.

use super::{At, Chain, Transform};
use crate::base::{Former, Layout, Result, Role, State, flat};

/// The aside that CLARS asks for: per parameter tensor the mean of the norms of micro-batch gradients.
pub const MICRO_NORMS: &str = "micro_norms";

/// φ of LAMB is the norm of the weights, cut at this.
const LONGEST: f64 = 10.0;

/// What a tensor's update is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// By the norm of the tensor over that of its gradient.
    Lars {
        /// The trust coefficient τ.
        trust: f64,
        /// ε of the denominator.
        eps: f64,
    },
    /// By the norm of the tensor over the mean of the norms of micro-batch gradients.
    Clars {
        /// The trust coefficient τ.
        trust: f64,
        /// ε of the denominators.
        eps: f64,
        /// The largest scale c.
        cap: f64,
    },
    /// By the norm of the tensor over that of what the inner chain made.
    Lamb,
}

impl Scaling {
    /// The scale for ‖w‖, ‖G‖ before and ‖r‖ behind the inner chain, and A if it came.
    fn scale(self, weight: f64, before: f64, behind: f64, mean: Option<f64>) -> f64 {
        let lars =
            |trust: f64, eps: f64| if weight > 0.0 && before > 0.0 { trust * weight / (before + eps) } else { 1.0 };
        match (self, mean) {
            (Self::Clars { trust, eps, cap }, Some(mean)) => cap.min(lars(trust, eps) * (before / (mean + eps))),
            (Self::Lars { trust, eps } | Self::Clars { trust, eps, .. }, _) => lars(trust, eps),
            (Self::Lamb, _) if weight > 0.0 && behind > 0.0 => weight.min(LONGEST) / behind,
            (Self::Lamb, _) => 1.0,
        }
    }
}

/// Scales per tensor what an inner chain makes of the update.
pub struct Layerwise {
    scaling: Scaling,
    inner: Chain,
    norms: Vec<f64>,
}

impl Layerwise {
    /// With `scaling` around `inner`: momentum for LARS and CLARS, Adam and decay for LAMB.
    pub fn new(scaling: Scaling, inner: Chain) -> Self {
        Self { scaling, inner, norms: Vec::new() }
    }
}

impl Transform for Layerwise {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        self.norms.clear();
        self.norms.extend(at.layout.ranges().iter().map(|range| flat::norm(&update[range.clone()])));
        self.inner.apply(at, update);
        let means = at.aside(MICRO_NORMS).unwrap_or_default();
        for (i, (tensor, range)) in at.layout.tensors().enumerate() {
            if tensor.role != Role::Weight {
                continue;
            }
            let (weight, behind) = (flat::norm(&at.parameters[range.clone()]), flat::norm(&update[range.clone()]));
            let mean = means.get(i).copied().map(f64::from);
            flat::scale(&mut update[range], self.scaling.scale(weight, self.norms[i], behind, mean) as f32);
        }
    }

    fn needs(&self) -> Option<&'static str> {
        matches!(self.scaling, Scaling::Clars { .. }).then_some(MICRO_NORMS).or(self.inner.needs())
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        self.inner.moments()
    }

    fn reset(&mut self) {
        self.inner.reset();
    }

    fn clipped_steps(&mut self) -> u64 {
        self.inner.clipped_steps()
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.inner.load(state, layout)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        self.inner.deal(former)
    }
}

#[cfg(test)]
mod tests;
