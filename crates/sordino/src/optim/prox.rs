//! Prox: the end of a step is moved to where a convex penalty, known in closed form, wants it.
//!
//! # What it does
//! Turns the step x − u into prox_{ηψ}(x − u), for ψ an l1 norm, norms of groups, a box, or l1 within a box.
//!
//! # The step
//! ```text
//! u ← x − prox_{ηψ}(x − u)          η the rate of the step, prox_{ηψ}(y) = argmin_z ½‖z − y‖² + ηψ(z)
//! l1      ψ = w‖x‖₁ + [low ≤ x ≤ high]     zⱼ = clamp(sign(yⱼ)·max(0, |yⱼ| − ηw), low, high)
//! group   ψ = w Σ_G ‖x_G‖                  z_G = max(0, 1 − ηw/‖y_G‖)·y_G
//! box     ψ = [low ≤ x ≤ high]             zⱼ = clamp(yⱼ, low, high)
//! ```
//! # Contract
//! The last link of the chain, after momentum, the rate and its clip: η is the annealed rate, clipped or not. A
//! soft threshold and then a clamp are exact for l1 within a box, since both act entry by entry. Groups are runs of
//! `size` entries of a tensor, the last one of a tensor perhaps shorter; none crosses tensors. x − u in f32 is 0 exactly
//! where the prox is 0, and lies within the box. Without history. Losses that are told and evaluated are without ψ;
//! [`Prox::value`] tells it, and [`Prox::mapping`] how far a point is from being stationary.
//!
//! # When it helps, when it hurts
//! Sparse or structured models, perturbations within bounds, where a gradient of ψ would never make a zero. It is exact
//! for what is offered as gradients: there the step is made once, after the exchange. Where workers step for themselves
//! (parameters, displacements) the average of sparse models is less sparse than any of them, though a box, being
//! convex, holds. Adding ψ to the loss instead and probing it by finite differences loses the zeros too.
//!
//! # Reference
//! Proximal steps as in Huang, Gu, Huo, Chen, Huang: Faster gradient-free proximal stochastic methods for nonconvex
//! nonsmooth optimization (1902.06158); Reddi, Sra, Poczos, Smola: Proximal stochastic methods for nonsmooth nonconvex
//! finite-sum optimization (2016).
//!
//! # Deviations from the paper
//! Groups weigh alike, whatever their size.

use super::{At, Transform};
use crate::base::{Error, Layout, Result, flat};
use crate::grammar::{self, Args, Element, Entry, Key};

/// A convex penalty with a proximal map in closed form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prox {
    /// weight·‖x‖₁ for entries between low and high, which may be infinite.
    L1 {
        /// Weight of the norm.
        weight: f64,
        /// Smallest value of an entry.
        low: f32,
        /// Largest value of an entry.
        high: f32,
    },
    /// weight·Σ‖x_G‖ over groups of so many consecutive entries of a tensor.
    Group {
        /// Weight of the norms.
        weight: f64,
        /// Entries of a group.
        size: usize,
    },
}

const WEIGHT: Key = Key { name: "weight", default: "0.0001", about: "weight of the norm" };
const LOW: Key = Key { name: "low", default: "none", about: "smallest value of an entry, or none" };
const HIGH: Key = Key { name: "high", default: "none", about: "largest value of an entry, or none" };

/// Everything that the key `optim.prox` may be.
pub const PROXES: &[&Entry<Option<Prox>>] = &[
    &Entry {
        name: "box",
        about: "every entry stays between two numbers",
        keys: &[LOW, HIGH],
        build: |args| bounded(args, 0.0),
    },
    &Entry {
        name: "group",
        about: "group lasso: runs of entries are zero together",
        keys: &[WEIGHT, Key { name: "size", default: "8", about: "entries of a group, within a tensor" }],
        build: |args| {
            let (weight, size) = (args.positive_or_zero("weight")?, args.count("size", 1)? as usize);
            Ok(Some(Prox::Group { weight, size }))
        },
    },
    &Entry {
        name: "l1",
        about: "soft threshold: entries become zero; within bounds if there are any",
        keys: &[WEIGHT, LOW, HIGH],
        build: |args| bounded(args, args.positive_or_zero("weight")?),
    },
    &Entry { name: "none", about: "no penalty", keys: &[], build: |_| Ok(None) },
];

/// Builds the penalty that an element names.
pub(super) fn build(element: &Element) -> Result<Option<Prox>> {
    grammar::build("optim.prox", PROXES, element)
}

fn bounded(args: &Args, weight: f64) -> Result<Option<Prox>> {
    let bound = |key: &str, none: f32| match args.number(key) {
        Ok(x) => Ok(x as f32),
        Err(e) => {
            if args.word(key).is_ok_and(|word| word == "none") {
                Ok(none)
            } else {
                Err(e)
            }
        }
    };
    let (low, high) = (bound("low", f32::NEG_INFINITY)?, bound("high", f32::INFINITY)?);
    if low > high {
        return Err(Error::request(format!("`low` = {low} is above `high` = {high}: nothing lies between them")));
    }
    Ok(Some(Prox::L1 { weight, low, high }))
}

impl Prox {
    /// The groups of a model of this layout.
    fn groups(layout: &Layout, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        layout.ranges().iter().flat_map(move |tensor| {
            let end = tensor.end;
            tensor.clone().step_by(size).map(move |from| from..end.min(from + size))
        })
    }

    /// ψ(x); infinite outside the bounds.
    pub fn value(&self, layout: &Layout, x: &[f32]) -> f64 {
        match *self {
            Self::L1 { low, high, .. } if x.iter().any(|v| *v < low || *v > high) => f64::INFINITY,
            Self::L1 { weight, .. } => weight * flat::norm1(x),
            Self::Group { weight, size } => weight * Self::groups(layout, size).map(|g| flat::norm(&x[g])).sum::<f64>(),
        }
    }

    /// x ← prox_{ηψ}(x).
    pub fn apply(&self, layout: &Layout, eta: f64, x: &mut [f32]) {
        match *self {
            Self::L1 { weight, low, high } => {
                let threshold = (eta * weight) as f32;
                // What is not finite stays so, to be found.
                for v in x.iter_mut().filter(|v| v.is_finite()) {
                    let soft = if v.abs() <= threshold { 0.0 } else { *v - threshold.copysign(*v) };
                    *v = soft.clamp(low, high);
                }
            }
            Self::Group { weight, size } => {
                for group in Self::groups(layout, size) {
                    let (norm, threshold) = (flat::norm(&x[group.clone()]), eta * weight);
                    // A group that is shorter than the threshold is zero, and so is an empty one.
                    let keep = if norm > threshold { 1.0 - threshold / norm } else { 0.0 };
                    flat::scale(&mut x[group], keep as f32);
                }
            }
        }
    }

    /// The gradient mapping (x − prox_{ηψ}(x − ηg))/η: zero where x is stationary for f + ψ, g the gradient of f there.
    pub fn mapping(&self, layout: &Layout, eta: f64, x: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut end: Vec<f32> = x.iter().zip(gradient).map(|(x, g)| x - eta as f32 * g).collect();
        self.apply(layout, eta, &mut end);
        end.iter().zip(x).map(|(end, x)| ((f64::from(*x) - f64::from(*end)) / eta) as f32).collect()
    }

    /// Puts a rounded step back between the bounds.
    fn within(&self, x: f32, update: f32) -> f32 {
        let Self::L1 { low, high, .. } = *self else { return update };
        match x - update {
            end if end > high => update.next_up(),
            end if end < low => update.next_down(),
            _ => update,
        }
    }
}

/// The last link of a chain with a penalty.
#[derive(Clone, Debug)]
pub struct Proximal {
    prox: Prox,
    end: Vec<f32>,
}

impl Proximal {
    /// With that penalty.
    pub fn new(prox: Prox) -> Self {
        Self { prox, end: Vec::new() }
    }
}

impl Transform for Proximal {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        self.end.clear();
        self.end.extend(at.parameters.iter().zip(&*update).map(|(x, u)| x - u));
        self.prox.apply(at.layout, at.rate, &mut self.end);
        for ((u, x), end) in update.iter_mut().zip(at.parameters).zip(&self.end) {
            *u = self.prox.within(*x, x - end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, Stream, Tensor, Use};

    fn prox(text: &str) -> Prox {
        build(&Element::parse(text).unwrap()).unwrap().unwrap()
    }

    /// The objective whose minimiser the prox of `y` is.
    fn objective(prox: &Prox, layout: &Layout, eta: f64, y: &[f32], z: &[f32]) -> f64 {
        0.5 * flat::distance(z, y).powi(2) + eta * prox.value(layout, z)
    }

    #[test]
    fn it_is_where_its_objective_is_least() {
        let layout = Layout::new([Tensor::new("a", &[5], Role::Weight), Tensor::new("b", &[4], Role::Bias)]);
        let mut s = Stream::new(1, Use::Problem, 0, 0);
        for text in
            ["l1(0.7)", "l1(0.7, -0.4, 1)", "l1(0.3, low=0.1)", "group(1, 2)", "group(0.6, size=9)", "box(-0.3, 0.6)"]
        {
            let (prox, mut moved) = (prox(text), 0);
            for _ in 0..50 {
                let y: Vec<f32> = (0..9).map(|_| s.normal()).collect();
                let mut z = y.clone();
                prox.apply(&layout, 0.5, &mut z);
                let least = objective(&prox, &layout, 0.5, &y, &z);
                moved += usize::from(z != y);
                for _ in 0..100 {
                    let beside: Vec<f32> = z.iter().map(|z| z + 0.1 * s.normal()).collect();
                    assert!(objective(&prox, &layout, 0.5, &y, &beside) >= least - 1e-6, "{text}: {beside:?}");
                }
            }
            assert!(moved > 40, "{text}");
        }
    }

    #[test]
    fn groups_do_not_cross_tensors() {
        let layout = Layout::new([Tensor::new("a", &[3], Role::Weight), Tensor::new("b", &[3], Role::Weight)]);
        let mut x = [3.0, 4.0, 0.5, 0.3, 0.4, 7.0];
        prox("group(1, 2)").apply(&layout, 1.0, &mut x);
        assert_eq!(x, [3.0 * 0.8, 4.0 * 0.8, 0.0, 0.0, 0.0, 6.0]);
        assert_eq!(prox("group(2, 2)").value(&layout, &[3.0, 4.0, 0.5, 3.0, 4.0, -7.0]), 2.0 * (5.0 + 0.5 + 5.0 + 7.0));
    }

    #[test]
    fn a_step_ends_in_exact_zeros_and_within_the_box_whatever_is_rounded() {
        let mut s = Stream::new(2, Use::Problem, 0, 0);
        let n = 20_000;
        let layout = Layout::vector(n);
        let far: Vec<f32> = (0..n).map(|i| s.normal() * 10f32.powi(i as i32 % 9 - 4)).collect();
        let steps: Vec<f32> = (0..n).map(|i| s.normal() * 10f32.powi(i as i32 % 7 - 3)).collect();
        let (mut zeros, mut edges) = (0, 0);
        for (text, low, high) in [("l1(0.2)", f32::NEG_INFINITY, f32::INFINITY), ("l1(0.2, -0.1, 0.7)", -0.1, 0.7)] {
            let (mut link, mut update) = (Proximal::new(prox(text)), steps.clone());
            link.apply(&At::new(&far, &steps, 0.5, 0, &layout), &mut update);
            for ((x, u), step) in far.iter().zip(&update).zip(&steps) {
                let (y, end) = (x - step, x - u);
                assert!(end >= low && end <= high, "{x} - {u} = {end}");
                zeros += usize::from(end == 0.0);
                edges += usize::from(end == high);
                assert_eq!(y.abs() <= 0.1, end == 0.0, "{y} ends at {end}");
            }
        }
        assert!(zeros > 1000 && edges > 1000);
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        for text in ["l1(1)", "box(0, 1)", "group(1, 2)"] {
            let mut x = [f32::NAN, 1.0, f32::INFINITY, 2.0];
            prox(text).apply(&Layout::vector(4), 1.0, &mut x);
            assert!(!x[0].is_finite() && !x[2].is_finite(), "{text}: {x:?}");
        }
    }

    #[test]
    fn the_mapping_is_the_gradient_without_a_penalty_and_zero_where_nothing_pulls() {
        let layout = Layout::vector(3);
        let map = |text: &str, x: &[f32], g: &[f32]| prox(text).mapping(&layout, 0.25, x, g);
        assert_eq!(map("l1(0)", &[1.0, 2.0, -1.0], &[0.5, 0.0, -8.0]), [0.5, 0.0, -8.0]);
        // At zero a gradient up to the weight is held; at a bound one that pulls outwards.
        assert_eq!(map("l1(1)", &[0.0, 0.0, 2.0], &[0.5, -1.0, -1.0]), [0.0, 0.0, 0.0]);
        assert_eq!(map("box(0, 1)", &[1.0, 0.0, 0.0], &[-3.0, 3.0, -3.0]), [0.0, 0.0, -3.0]);
    }

    #[test]
    fn bounds_the_wrong_way_round_are_refused() {
        let refusal = |text: &str| build(&Element::parse(text).unwrap()).err().unwrap().to_string();
        assert!(refusal("box(1, 0)").contains("nothing lies between"));
        assert!(refusal("l1(-1)").contains("at least 0"));
        assert!(refusal("box(low=some)").contains("a number"));
        assert!(build(&Element::word("none")).unwrap().is_none());
    }
}
