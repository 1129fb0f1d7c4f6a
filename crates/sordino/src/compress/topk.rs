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

use super::{Class, Compressor, Piece, Pieces, Scope};
use crate::base::{Error, Reader, Result, Stream, Writer, wire};
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
    magnitudes: Vec<u32>,
}

impl TopK {
    /// Keeps `ratio` of the entries, 0 < ratio ≤ 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio, magnitudes: Vec::new() }
    }

    fn kept(&self, n: usize) -> usize {
        ((self.ratio * n as f64) as usize).clamp(1, n)
    }
}

/// The bits of |v|: they order like the magnitudes.
#[inline]
fn magnitude(v: f32) -> u32 {
    v.to_bits() & 0x7FFF_FFFF
}

impl Piece for TopK {
    fn class(&self, n: usize) -> Class {
        if self.kept(n) == n {
            return Class::Lossless;
        }
        Class::Contractive { delta: self.kept(n) as f64 / n as f64 }
    }

    fn bound(&self, n: usize) -> usize {
        let k = self.kept(n);
        4 * k + wire::packed_len(wire::bits_for(n), k)
    }

    fn encode(&mut self, x: &[f32], _: &Stream, out: &mut Writer) {
        let k = self.kept(x.len());
        self.magnitudes.clear();
        self.magnitudes.extend(x.iter().map(|v| magnitude(*v)));
        let (_, threshold, above) = self.magnitudes.select_nth_unstable(x.len() - k);
        let threshold = *threshold;
        let mut ties = k - above.iter().filter(|m| **m > threshold).count();
        let mut chosen = Vec::with_capacity(k);
        for (i, v) in x.iter().enumerate() {
            let m = magnitude(*v);
            if m > threshold || (m == threshold && ties > 0) {
                ties -= usize::from(m == threshold);
                chosen.push(i as u32);
            }
        }
        for i in &chosen {
            out.f32(x[*i as usize]);
        }
        out.packed(wire::bits_for(x.len()), chosen);
    }

    fn decode(&mut self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        let n = out.len();
        let k = self.kept(n);
        let values = body.raw(4 * k)?;
        let (values, _) = values.as_chunks::<4>();
        out.fill(0.0);
        body.packed(wire::bits_for(n), k, |i, index| {
            let slot = out
                .get_mut(index as usize)
                .ok_or_else(|| Error::decode(format!("index {index} is outside a tensor of {n} entries")))?;
            *slot = f32::from_le_bytes(values[i]);
            Ok(())
        })
    }
}
