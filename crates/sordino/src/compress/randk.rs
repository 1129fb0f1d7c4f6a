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

use super::{Class, Compressor, Piece, Pieces, Scope};
use crate::base::{Reader, Result, Stream, Use, Writer};
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
}

impl RandK {
    /// Keeps `ratio` of the entries, 0 < ratio ≤ 1, times n/k if `unbiased`.
    pub fn new(ratio: f64, unbiased: bool) -> Self {
        Self { ratio, unbiased, chosen: Vec::new() }
    }

    fn kept(&self, n: usize) -> usize {
        ((self.ratio * n as f64) as usize).clamp(1, n)
    }

    /// Draws the indices of `key` and calls `each` with them in ascending order. A bitmap makes Floyd's algorithm
    /// exact in k draws, and sorts.
    fn draw(&mut self, n: usize, key: u64, mut each: impl FnMut(usize)) {
        let mut stream = Stream::new(key, Use::Encode, 0, 0);
        self.chosen.clear();
        self.chosen.resize(n.div_ceil(64), 0);
        for last in n - self.kept(n)..n {
            let drawn = stream.below(last as u64 + 1) as usize;
            let taken = self.chosen[drawn / 64] >> (drawn % 64) & 1 == 1;
            let i = if taken { last } else { drawn };
            self.chosen[i / 64] |= 1 << (i % 64);
        }
        for (word, &bits) in self.chosen.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                each(64 * word + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
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

    fn encode(&mut self, x: &[f32], stream: &Stream, out: &mut Writer) {
        let (n, k) = (x.len(), self.kept(x.len()));
        let scale = if self.unbiased { n as f32 / k as f32 } else { 1.0 };
        let key = stream.word_at(0);
        out.u64(key);
        let (quads, _) = out.room(4 * k).as_chunks_mut::<4>();
        let mut quads = quads.iter_mut();
        self.draw(n, key, |i| {
            if let Some(quad) = quads.next() {
                *quad = (scale * x[i]).clamp(f32::MIN, f32::MAX).to_le_bytes();
            }
        });
    }

    fn decode(&mut self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        let key = body.u64()?;
        let (quads, _) = body.raw(4 * self.kept(out.len()))?.as_chunks::<4>();
        let mut quads = quads.iter();
        out.fill(0.0);
        self.draw(out.len(), key, |i| {
            if let Some(quad) = quads.next() {
                out[i] = f32::from_le_bytes(*quad);
            }
        });
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
            let mut set = Vec::new();
            randk.draw(5, key, |i| set.push(i));
            assert_eq!(set.len(), 2);
            *counts.entry(set).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 10);
        let (mean, spread) = (rounds as f64 / 10.0, (rounds as f64 * 0.1 * 0.9).sqrt());
        assert!(counts.values().all(|&c| (f64::from(c) - mean).abs() < 6.0 * spread), "{counts:?}");
    }
}
