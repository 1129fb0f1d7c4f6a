//! Random-k: k entries drawn uniformly.
//!
//! # What it does
//! Keeps k entries of every tensor, drawn without replacement, and sends instead of their indices the key they are
//! drawn from.
//!
//! # The step
//! ```text
//! k = max(1, ⌊ratio·n⌋),  S = k distinct indices from the key (Floyd's algorithm)
//! C(v)ᵢ = c·vᵢ  if i ∈ S, else 0;   c = 1 (scale=none) or n/k (scale=unbiased)
//! ```
//! # Contract
//! `none` is contractive in expectation with δ = k/n, and a selection: given = said + kept bit for bit. `unbiased` has
//! ω = n/k − 1; products beyond f32 saturate. 64 + 32k bits a tensor. Not linear across ranks, whose keys differ: that
//! is `block`.
//!
//! # When it helps, when it hurts
//! Cheaper to draw than top-k to search, and every entry has its turn within n/k rounds; it says less of the vector
//! than top-k does. The default is `none`, for use with error feedback, since what is scaled up inside a feedback loop
//! is not a contraction and can blow up; `unbiased` is for runs without feedback.
//!
//! # Reference
//! Stich, Cordonnier, Jaggi: Sparsified SGD with memory (1809.07599).
//!
//! # Deviations from the paper
//! None. (SAEF's `GSpar` keeps each entry with probability `ratio` instead, so that its k varies.)

use super::sink::Sparse;
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::Simd;
use crate::base::{Reader, Result, Slot, Stream, Use};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "randk",
    about: "k entries drawn uniformly; both ends redraw the indices from a key",
    keys: &[
        Key { name: "ratio", default: "0.01", about: "share of entries kept, k = max(1, floor(ratio n))" },
        Key { name: "scale", default: "none", about: "none (contractive, for feedback) or unbiased (times n/k)" },
        Key { name: "scope", default: "tensor", about: "what k is taken of: tensor, model or bucket(n)" },
    ],
    build: |args| {
        let unbiased = args.choice("scale", &["none", "unbiased"])? == 1;
        Ok(Box::new(Pieces::new(RandK::new(args.share("ratio")?, unbiased), Scope::from_args(args)?)))
    },
};

/// A uniform selection.
#[derive(Clone, Debug)]
pub struct RandK {
    ratio: f64,
    unbiased: bool,
    /// One bit an entry: whether it is chosen.
    chosen: Vec<u64>,
    /// The indices of those that are, ascending.
    indices: Vec<u32>,
}

impl RandK {
    /// Keeps `ratio` of the entries, 0 < ratio ≤ 1, times n/k if `unbiased`.
    pub fn new(ratio: f64, unbiased: bool) -> Self {
        Self { ratio, unbiased, chosen: Vec::new(), indices: Vec::new() }
    }

    fn kept(&self, n: usize) -> usize {
        ((self.ratio * n as f64) as usize).clamp(1, n)
    }

    /// Draws the indices of `key`, in ascending order. A bitmap makes Floyd's algorithm exact in k draws, and sorts. They are
    /// listed before anything is done with them: what follows is then loads that do not wait for one another.
    fn draw(&mut self, n: usize, key: u64) -> &[u32] {
        let mut stream = Stream::new(key, Use::Encode, 0, 0);
        self.chosen.clear();
        self.chosen.resize(n.div_ceil(64), 0);
        for last in n - self.kept(n)..n {
            let drawn = stream.below(last as u64 + 1) as usize;
            let taken = self.chosen[drawn / 64] >> (drawn % 64) & 1 == 1;
            let i = if taken { last } else { drawn };
            self.chosen[i / 64] |= 1 << (i % 64);
        }
        self.indices.clear();
        self.indices.reserve(self.kept(n));
        for (first, &bits) in (0u32..).step_by(64).zip(&self.chosen) {
            let mut bits = bits;
            while bits != 0 {
                self.indices.push(first + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        &self.indices
    }
}

impl Piece for RandK {
    fn class(&self, n: usize) -> Class {
        let share = self.kept(n) as f64 / n as f64;
        match self.unbiased {
            _ if share == 1.0 => Class::Lossless,
            true => Class::Unbiased { omega: 1.0 / share - 1.0 },
            false => Class::Contractive { delta: share },
        }
    }

    fn selects(&self) -> bool {
        true
    }

    fn bound(&self, n: usize) -> usize {
        8 + 4 * self.kept(n)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, _: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        let (n, k) = (x.len(), self.kept(x.len()));
        let scale = if self.unbiased { n as f32 / k as f32 } else { 1.0 };
        let key = stream.word_at(0);
        out.u64(key);
        let (quads, _) = out.room(4 * k).as_chunks_mut::<4>();
        for (quad, i) in quads.iter_mut().zip(self.draw(n, key)) {
            *quad = (scale * x[*i as usize]).clamp(f32::MIN, f32::MAX).to_le_bytes();
        }
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, _: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let key = body.u64()?;
        let (quads, _) = body.raw(4 * self.kept(out.len()))?.as_chunks::<4>();
        let n = out.len();
        let mut sparse = Sparse::new(out, sink);
        for (quad, i) in quads.iter().zip(self.draw(n, key)) {
            sparse.put(*i as usize, f32::from_le_bytes(*quad));
        }
        sparse.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_is_equally_likely() {
        let mut randk = RandK::new(0.5, false);
        let mut counts = std::collections::BTreeMap::new();
        let rounds = 60_000;
        for key in 0..rounds {
            let set = randk.draw(5, key).to_vec();
            assert_eq!(set.len(), 2);
            *counts.entry(set).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 10);
        let (mean, spread) = (rounds as f64 / 10.0, (rounds as f64 * 0.1 * 0.9).sqrt());
        assert!(counts.values().all(|&c| (f64::from(c) - mean).abs() < 6.0 * spread), "{counts:?}");
    }
}
