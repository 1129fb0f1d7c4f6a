//! Convex terms that are never differentiated, with their proximal steps.
//!
//! ```text
//! prox_ηψ(v) = argmin_y ψ(y) + ‖y - v‖² / (2η)
//! ψ = λ ‖x‖₁:          sign(v_j) max(0, |v_j| - ηλ)
//! ψ = λ Σ_G ‖x_G‖₂:    v_G max(0, 1 - ηλ / ‖v_G‖)
//! ψ = 0 in the box [low, high], ∞ outside:  min(max(v_j, low), high)
//! ```

use super::vectors::norm;
use std::ops::Range;

/// ψ.
#[derive(Clone, Debug)]
pub enum Prox {
    /// Zero.
    None,
    /// λ times the sum of magnitudes.
    L1(f64),
    /// λ times the sum of the lengths of these groups; other entries are free.
    Groups(f64, Vec<Range<usize>>),
    /// Every entry stays between the two.
    Box(f64, f64),
}

impl Prox {
    /// `prox_ηψ(v)`.
    pub fn step(&self, v: &[f64], eta: f64) -> Vec<f64> {
        let mut out = v.to_vec();
        match self {
            Prox::None => {}
            Prox::L1(lambda) => {
                for a in &mut out {
                    *a = if *a > 0.0 { 1.0 } else { -1.0 } * (a.abs() - eta * lambda).max(0.0);
                }
            }
            Prox::Groups(lambda, groups) => {
                for group in groups {
                    let length = norm(&v[group.clone()]);
                    let factor = if length > eta * lambda { 1.0 - eta * lambda / length } else { 0.0 };
                    for a in &mut out[group.clone()] {
                        *a *= factor;
                    }
                }
            }
            Prox::Box(low, high) => {
                for a in &mut out {
                    *a = a.max(*low).min(*high);
                }
            }
        }
        out
    }

    /// `ψ(x)`.
    pub fn value(&self, x: &[f64]) -> f64 {
        match self {
            Prox::None => 0.0,
            Prox::L1(lambda) => lambda * x.iter().map(|a| a.abs()).sum::<f64>(),
            Prox::Groups(lambda, groups) => lambda * groups.iter().map(|group| norm(&x[group.clone()])).sum::<f64>(),
            Prox::Box(low, high) => {
                if x.iter().all(|a| a >= low && a <= high) {
                    0.0
                } else {
                    f64::INFINITY
                }
            }
        }
    }

    /// The gradient mapping `g_η(x) = (x - prox_ηψ(x - η g)) / η`, with `g` the gradient of the rest at `x`.
    pub fn mapping(&self, x: &[f64], g: &[f64], eta: f64) -> Vec<f64> {
        let v: Vec<f64> = (0..x.len()).map(|j| x[j] - eta * g[j]).collect();
        let y = self.step(&v, eta);
        (0..x.len()).map(|j| (x[j] - y[j]) / eta).collect()
    }
}
