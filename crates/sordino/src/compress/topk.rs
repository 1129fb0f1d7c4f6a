//! Top-k: the k entries of largest magnitude.
//!
//! # What it does
//! Keeps the k entries of largest magnitude of every tensor, with their indices, and drops the rest.
//!
//! # The step
//! ```text
//! k = max(1, ⌊ratio·n⌋)
//! C(v)ᵢ = vᵢ  if |vᵢ| is among the k largest (ties: the lower index), else 0
//! ```
//! # Contract
//! Contractive with δ = k/n; `k·(32 + ⌈log₂ n⌉)` bits a tensor, indices ascending; said is a selection, so
//! given = said + kept bit for bit. Not linear: ranks select different entries.
//!
//! # When it helps, when it hurts
//! With error feedback it trains at a few per cent of the bytes. Without, it stalls wherever workers' data differ.
//! Every rank receives N − 1 messages: past a few ranks use a coarser ratio or a star.
//!
//! # Reference
//! Stich, Cordonnier, Jaggi: Sparsified SGD with memory (1809.07599); scope and k as in the code of SAEF (2008.05823).
//!
//! # Deviations from the paper
//! None.

use super::sink::Sparse;
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{self, Bytes as _, Simd, SimdBase as _, i32x16};
use crate::base::{Error, Reader, Result, Slot, Stream, wire};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "topk",
    about: "the k entries of largest magnitude with their indices",
    keys: &[
        Key { name: "ratio", default: "0.01", about: "share of entries kept, k = max(1, floor(ratio n))" },
        Key { name: "scope", default: "tensor", about: "what k is taken of: tensor, model or bucket(n)" },
    ],
    build: |args| Ok(Box::new(Pieces::new(TopK::new(args.share("ratio")?), Scope::from_args(args)?))),
};

/// Selection of the largest magnitudes.
#[derive(Clone, Debug)]
pub struct TopK {
    ratio: f64,
    /// Indices that may be among the k largest, ascending; at last those that are.
    candidates: Vec<u32>,
    magnitudes: Vec<u32>,
}

/// The bits of |v|: they order like the magnitudes.
#[inline(always)]
fn magnitude(v: f32) -> u32 {
    v.to_bits() & 0x7FFF_FFFF
}

impl TopK {
    /// Keeps `ratio` of the entries, 0 < ratio ≤ 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio, candidates: Vec::new(), magnitudes: Vec::new() }
    }

    fn kept(&self, n: usize) -> usize {
        ((self.ratio * n as f64) as usize).clamp(1, n)
    }

    /// A magnitude that a few more than k entries reach, judged by a sample; 0 where sampling would not pay.
    fn guess(&mut self, x: &[f32], k: usize) -> u32 {
        const SAMPLE: usize = 4096;
        if x.len() < 2 * SAMPLE || k > x.len() / 4 {
            return 0;
        }
        let stride = x.len() / SAMPLE;
        self.magnitudes.clear();
        self.magnitudes.extend(x.iter().step_by(stride).map(|v| magnitude(*v)));
        let n = self.magnitudes.len();
        let expected = n as f64 * k as f64 / x.len() as f64;
        let rank = (expected + 4.0 * libm::sqrt(expected) + 4.0) as usize;
        *self.magnitudes.select_nth_unstable(n - rank.min(n)).1
    }

    /// Collects the indices of all magnitudes of at least `least`, where there may be about `about`.
    #[inline(always)]
    fn collect<S: Simd>(&mut self, simd: S, x: &[f32], least: u32, about: usize) {
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.reserve(about);
        simd::marked(
            simd,
            x,
            // Magnitudes are not negative, so that the comparison of signed numbers, which all CPUs have, will do.
            #[inline(always)]
            |v| simd::magnitudes(v).bitcast::<i32x16<S>>().simd_gt(least as i32 - 1),
            #[inline(always)]
            |i| candidates.push(i as u32),
        );
    }

    /// Leaves in `candidates` the k indices, ascending.
    #[inline(always)]
    fn select<S: Simd>(&mut self, simd: S, x: &[f32], k: usize) {
        let guess = self.guess(x, k);
        self.collect(simd, x, guess, 2 * k);
        if self.candidates.len() < k {
            self.collect(simd, x, 0, x.len());
        }
        self.magnitudes.clear();
        self.magnitudes.extend(self.candidates.iter().map(|i| magnitude(x[*i as usize])));
        let n = self.magnitudes.len();
        let (_, threshold, above) = self.magnitudes.select_nth_unstable(n - k);
        let threshold = *threshold;
        let mut ties = k - above.iter().filter(|m| **m > threshold).count();
        self.candidates.retain(|i| {
            let m = magnitude(x[*i as usize]);
            let tie = m == threshold && ties > 0;
            ties -= usize::from(tie);
            m > threshold || tie
        });
    }
}

impl Piece for TopK {
    fn class(&self, n: usize) -> Class {
        if self.kept(n) == n {
            return Class::Lossless;
        }
        Class::Contractive { delta: self.kept(n) as f64 / n as f64 }
    }

    fn selects(&self) -> bool {
        true
    }

    fn bound(&self, n: usize) -> usize {
        let k = self.kept(n);
        4 * k + wire::packed_len(wire::bits_for(n), k)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], _: &Stream, out: &mut Slot) {
        let k = self.kept(x.len());
        self.select(simd, x, k);
        let (quads, _) = out.room(4 * k).as_chunks_mut::<4>();
        for (quad, i) in quads.iter_mut().zip(&self.candidates) {
            *quad = x[*i as usize].to_le_bytes();
        }
        out.packed(wire::bits_for(x.len()), self.candidates.iter().copied());
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, _: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let n = out.len();
        let k = self.kept(n);
        let values = body.raw(4 * k)?;
        let (values, _) = values.as_chunks::<4>();
        let (mut sparse, mut least) = (Sparse::new(out, sink), 0);
        body.packed(
            wire::bits_for(n),
            k,
            #[inline(always)]
            |i, index| {
                if index < least || index as usize >= n {
                    return Err(Error::decode(format!(
                        "index {index} is not one of entries {least} to {n}: indices ascend, within the tensor"
                    )));
                }
                least = index + 1;
                sparse.put(index as usize, f32::from_le_bytes(values[i]));
                Ok(())
            },
        )?;
        sparse.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Use;
    use crate::base::simd::widest;

    #[test]
    fn the_sampled_search_selects_what_sorting_selects() {
        let mut stream = Stream::new(2, Use::Noise, 0, 0);
        for n in [1, 5, 100, 8192, 50_000] {
            let normal: Vec<f32> = (0..n).map(|_| stream.normal()).collect();
            let ties: Vec<f32> = normal.iter().map(|v| v.round()).collect();
            // The sample sees only the large entries: the guess fails and must be noticed.
            let misleading: Vec<f32> =
                (0..n).map(|i| if i % (n / 4096).max(1) == 0 { 1e3 } else { normal[i] }).collect();
            for x in [normal, ties, misleading, vec![0.0; n], vec![-7.0; n]] {
                for ratio in [0.001, 0.01, 0.2, 0.9, 1.0] {
                    let mut topk = TopK::new(ratio);
                    let k = topk.kept(n);
                    widest!(simd => topk.select(simd, &x, k));
                    let mut order: Vec<u32> = (0..n as u32).collect();
                    order.sort_by_key(|i| std::cmp::Reverse(magnitude(x[*i as usize])));
                    order.truncate(k);
                    order.sort_unstable();
                    assert_eq!(topk.candidates, order, "n {n}, ratio {ratio}");
                }
            }
        }
    }
}
