//! Geometric: the point with the smallest sum of distances to all vectors.
//!
//! # What it does
//! Approximates the geometric median by smoothed Weiszfeld steps from the coordinate-wise median.
//!
//! # The step
//! ```text
//! z ← coordinate-wise median
//! `iterations` times:   wₖ = 1/max(ε, ‖vₖ − z‖) ;   z ← Σ wₖvₖ / Σ wₖ
//! a = z
//! ```
//! # Contract
//! Distances below ε smoothed, no step raises their sum; so with h honest and f < h liars
//! ‖z − z₀‖ ≤ (2·Σ over the honest ‖vₖ − z₀‖ + nε/2)/(h − f), however many steps: withstands ⌊(n − 1)/2⌋. Counts every
//! voice alike, whatever its rows.
//! Norms and sums in f64. Not linear. O(iterations·nd) work, O(nd) memory.
//!
//! # When it helps, when it hurts
//! Looks at vectors whole, so it does not depend on the choice of axes, and needs to know neither how many lie nor
//! how far they go. Better than the median where spread is large in a few directions; slower to compute.
//!
//! # Reference
//! Pillutla, Kakade, Harchaoui: Robust aggregation for federated learning (1912.13445), RFA.
//!
//! # Deviations from the paper
//! Rows do not weigh. It starts at the coordinate-wise median, where RFA starts at a mean: a liar at distance D leaves
//! the mean D/n away, and a few steps only shrink that by a constant each.

use super::{Aggregator, Gathering, Heard, middle};
use crate::base::{Result, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "geometric",
    about: "the geometric median, by smoothed Weiszfeld steps (RFA)",
    keys: &[
        Key { name: "iterations", default: "8", about: "Weiszfeld steps; RFA takes 3 to 10" },
        Key { name: "eps", default: "1e-6", about: "distances count as at least this, in the unit of the payload" },
    ],
    build: |args| Ok(Box::new(Geometric::new(args.count("iterations", 1)?, args.positive("eps")?))),
};

/// The smoothed geometric median.
#[derive(Clone, Debug)]
pub struct Geometric {
    iterations: u64,
    eps: f64,
    heard: Heard,
    shares: Vec<f64>,
}

impl Geometric {
    /// `iterations` steps in which distances count as at least `eps` > 0.
    pub fn new(iterations: u64, eps: f64) -> Self {
        Self { iterations, eps, heard: Heard::default(), shares: Vec::new() }
    }
}

impl Aggregator for Geometric {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.heard.begin(gathering);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        self.heard.add(vector);
    }

    fn finish(&mut self, out: &mut [f32]) {
        self.heard.by_column(out, middle);
        for _ in 0..self.iterations {
            self.shares.clear();
            self.shares.extend(self.heard.vectors().map(|v| 1.0 / flat::distance(v, out).max(self.eps)));
            let total: f64 = self.shares.iter().sum();
            self.shares.iter_mut().for_each(|w| *w /= total);
            self.heard.combine(0.0, &self.shares, out);
        }
    }

    fn withstands(&self, workers: usize) -> usize {
        workers.saturating_sub(1) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(iterations: u64, vectors: &[[f32; 2]]) -> [f32; 2] {
        let mut geometric = Geometric::new(iterations, 1e-6);
        geometric.begin(&Gathering::of(2, vectors.len())).unwrap();
        for v in vectors {
            geometric.add(v, 1.0);
        }
        let mut out = [0.0; 2];
        geometric.finish(&mut out);
        out
    }

    #[test]
    fn unit_pulls_balance_at_the_point_of_a_triangle_from_which_its_sides_look_alike() {
        let triangle = [[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]];
        let z = of(200, &triangle);
        let mut pull = [0.0f64; 2];
        for v in &triangle {
            let distance = flat::distance(v, &z);
            for (p, (a, b)) in pull.iter_mut().zip(v.iter().zip(&z)) {
                *p += f64::from(a - b) / distance;
            }
        }
        assert!(pull.iter().all(|p| p.abs() < 1e-5), "{pull:?} at {z:?}");
    }

    #[test]
    fn two_of_five_at_any_distance_do_not_carry_it_away_in_the_first_step_or_the_last() {
        for iterations in [1, 8, 100] {
            let z = of(iterations, &[[0.0, 1.0], [1e20, 1e20], [1.0, 0.0], [1e20, 1e20], [0.0, 0.0]]);
            assert!(flat::norm(&z) < 8.0, "{z:?} after {iterations}");
        }
    }
}
