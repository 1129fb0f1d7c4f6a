//! The biased compressors of the error-feedback rows: top-k, scaled sign, a block, and clipping.
//!
//! References: Stich et al., arXiv 1809.07599 (top-k); Karimireddy et al., arXiv 1901.09847 (scaled sign); Xu and
//! Huang, arXiv 2004.05298 (block).

use super::{cut::Cut, vectors::norm};

/// Keeps the `max(1, ⌊ratio n⌋)` entries of largest magnitude; among equals the lower index.
pub fn top_k(v: &[f64], ratio: f64) -> Vec<f64> {
    let k = ((ratio * v.len() as f64).floor() as usize).max(1);
    let mut order: Vec<usize> = (0..v.len()).collect();
    order.sort_by(|&a, &b| v[b].abs().total_cmp(&v[a].abs()).then(a.cmp(&b)));
    let mut out = vec![0.0; v.len()];
    for &j in order.iter().take(k) {
        out[j] = v[j];
    }
    out
}

/// Top-k of every tensor on its own.
pub fn top_k_per_tensor(v: &[f64], cut: &Cut, ratio: f64) -> Vec<f64> {
    cut.apply(v, &|piece, _| top_k(piece, ratio))
}

/// `sign(v) ‖v‖₁ / d`, one scale for the whole vector; the sign of 0 is +.
pub fn scaled_sign(v: &[f64]) -> Vec<f64> {
    let scale = v.iter().map(|a| a.abs()).sum::<f64>() / v.len() as f64;
    v.iter().map(|&a| if a < 0.0 { -scale } else { scale }).collect()
}

/// Keeps `max(1, ⌊n / ratio⌋)` entries from `start` on, around the end.
pub fn block(v: &[f64], start: usize, ratio: f64) -> Vec<f64> {
    let length = ((v.len() as f64 / ratio).floor() as usize).max(1);
    let mut out = vec![0.0; v.len()];
    for offset in 0..length {
        let j = (start + offset) % v.len();
        out[j] = v[j];
    }
    out
}

/// `min(1, τ/‖v‖) v`, by the norm of the whole vector; 0 stays 0.
pub fn clip(v: &[f64], tau: f64) -> Vec<f64> {
    let length = norm(v);
    if length <= tau { v.to_vec() } else { v.iter().map(|a| a * (tau / length)).collect() }
}
