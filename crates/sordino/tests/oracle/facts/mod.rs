//! What the references must reproduce before anything is compared with them.

// The loops keep the papers' indices, as the references do.
#![allow(clippy::needless_range_loop)]

mod asynchronous;
mod clipping;
mod dual;
mod federated;
mod feedback;
mod layerwise;
mod local;
mod lowrank;
mod pipelines;
mod privacy;
mod problems;
mod quantizers;
mod robust;
mod zeroth;

/// Asserts `|left - right| <= tolerance (1 + |right|)` entry by entry.
pub fn assert_close(left: &[f64], right: &[f64], tolerance: f64) {
    assert_eq!(left.len(), right.len());
    for (j, (a, b)) in left.iter().zip(right).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "entry {j}: {a} is not {b} to {tolerance}");
    }
}

/// Asserts that two trajectories are the same, round by round.
pub fn assert_same(left: &[Vec<f64>], right: &[Vec<f64>], tolerance: f64) {
    assert_eq!(left.len(), right.len());
    for (a, b) in left.iter().zip(right) {
        assert_close(a, b, tolerance);
    }
}

/// `low` to `high` in `n` steps of the same factor: numpy's `logspace` of the two exponents.
pub fn logspace(low: f64, high: f64, n: usize) -> Vec<f64> {
    (0..n).map(|j| 10f64.powf(low + (high - low) * j as f64 / (n - 1) as f64)).collect()
}
