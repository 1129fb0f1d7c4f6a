//! `BinGrad`: two levels a bucket, the best there are.
//!
//! # What it does
//! Sends one bit an entry; the two levels of a bucket are chosen to minimise the squared error.
//!
//! # The step
//! ```text
//! kind=b   t = mean(v);  C(v)ᵢ = mean{v ≥ t} if vᵢ ≥ t, else mean{v < t}
//! kind=pb  b = root of b = (1/n)·Σ |vⱼ|·1{|vⱼ| > b};  |vᵢ| > b: sign(vᵢ)·b
//!          else +b with probability (vᵢ + b)/(2b), −b otherwise
//! ```
//! # Contract
//! `b` is deterministic and contractive with δ = min(1, 2/n): with D = Σ|v − t| the levels explain at least n·t² + D²/n,
//! and D² ≥ 2·Σ(v − t)². `pb` is contractive in expectation with δ = 1/(4n): its expected error is at most
//! ‖v‖² − n·b², and ‖v‖₁ ≤ 2nb. Both are far better on anything but spikes. n bits and one (pb) or two (b) f32 a bucket.
//! Not linear.
//!
//! # When it helps, when it hurts
//! Where one bit is all there is; `b` has the least error of the binary schemes, `pb` the lesser bias.
//!
//! # Reference
//! Dong, Wang, Huang et al.: optimal gradient quantization (2002.11082).
//!
//! # Deviations from the paper
//! Only the abstract and first page could be read: the optimality conditions are derived, the threshold of `b` is the
//! one-pass mean instead of the converged (b₁ + b₋₁)/2 (within 0.2 % of it in error). The root of `pb` is exact.

use super::digits::Bits;
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{self, Bytes as _, Lanes, ROW, Select as _, Simd, SimdBase as _, f32x16, u32x16};
use crate::base::{Reader, Result, Slot, Stream};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "bingrad",
    about: "one bit an entry and the two best levels a bucket",
    keys: &[
        Key {
            name: "kind",
            default: "b",
            about: "b (deterministic, two means) or pb (levels -b and b, random between them)",
        },
        Key { name: "scope", default: "bucket(2048)", about: "what has its own levels: tensor, model or bucket(n)" },
    ],
    build: |args| {
        let kind = [Kind::B, Kind::Pb][args.choice("kind", &["b", "pb"])?];
        Ok(Box::new(Pieces::new(BinGrad::new(kind), Scope::from_args(args)?)))
    },
};

/// Which of the two schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fully biased: the mean decides, each side is its own mean.
    B,
    /// Partially biased: ±b, random rounding between.
    Pb,
}

/// Two levels a bucket.
#[derive(Clone, Debug)]
pub struct BinGrad {
    kind: Kind,
    /// Magnitudes between the bounds of the root.
    between: Vec<f32>,
}

impl BinGrad {
    /// Levels of that kind.
    pub fn new(kind: Kind) -> Self {
        Self { kind, between: Vec::new() }
    }

    /// The root of b = (1/n)·Σ |v|·1{|v| > b}. The right side g falls as b rises, so g(g(b)) and g(b) enclose the root;
    /// a few turns leave a few magnitudes between, which are sorted and tried from above.
    #[inline(always)]
    fn root<S: Simd>(&mut self, simd: S, x: &[f32]) -> f32 {
        let n = x.len() as f64;
        let (mut low, mut high) = (0.0f32, simd::max_abs(simd, x));
        // Sums in f32 only serve to enclose, hence the margin; they could overflow or vanish outside this range.
        if (1e-30..1e30).contains(&high) {
            high = high.min(rough_sum_above(simd, x, 0.0) / x.len() as f32 * 1.001);
            for _ in 0..2 {
                low = low.max(rough_sum_above(simd, x, high) / x.len() as f32 * 0.999);
                high = high.min(rough_sum_above(simd, x, low) / x.len() as f32 * 1.001);
            }
        }
        self.between.clear();
        let between = &mut self.between;
        simd::marked(
            simd,
            x,
            #[inline(always)]
            |v| v.abs().simd_gt(low) & v.abs().simd_le(high),
            #[inline(always)]
            |i| between.push(x[i].abs()),
        );
        self.between.sort_unstable_by(|a, b| b.total_cmp(a));
        let nothing = f32x16::splat(simd, 0.0);
        let mut above = simd::sum(simd, x, |v| v.abs().simd_gt(high).select(v.abs(), nothing));
        let mut last = f64::from(high);
        for m in self.between.iter().map(|m| f64::from(*m)) {
            if above / n >= m {
                break;
            }
            above += m;
            last = m;
        }
        // Where the sum jumps over the diagonal, the jump is the root.
        (above / n).min(last) as f32
    }
}

/// Σ |v|·1{|v| > b} in f32, in sixteen lanes.
#[inline(always)]
fn rough_sum_above<S: Simd>(simd: S, x: &[f32], b: f32) -> f32 {
    let nothing = f32x16::splat(simd, 0.0);
    let mut lanes = nothing;
    let (rows, rest) = x.as_chunks::<ROW>();
    for x in rows {
        let m = f32x16::load_array_ref(simd, x).abs();
        lanes += m.simd_gt(b).select(m, nothing);
    }
    lanes.to_array().iter().sum::<f32>() + rest.iter().map(|v| v.abs()).filter(|m| *m > b).sum::<f32>()
}

/// Writes the means of both sides of the mean, the lower one first, and which side an entry is on.
#[inline(always)]
fn write_halves<S: Simd>(simd: S, x: &[f32], out: &mut Slot) {
    let (n, total) = (x.len() as f64, simd::sum(simd, x, |v| v));
    let mean = total / n;
    // v ≥ mean in f64 is v ≥ the next f32 from the mean on.
    let near = mean as f32;
    let threshold = if f64::from(near) < mean { near.next_up() } else { near };
    out.f32(near);
    out.f32(near);
    let mut above = Lanes::new(simd);
    let nothing = f32x16::splat(simd, 0.0);
    Bits::write_marks(
        simd,
        out,
        x,
        #[inline(always)]
        |_, v| {
            let up = v.simd_ge(threshold);
            above.add(up.select(v, nothing));
            up
        },
    );
    let above = above.total();
    let up: f64 = f64::from(ones(&out.bytes()[8..]));
    if up > 0.0 {
        out.put_f32(4, (above / up) as f32);
    }
    if up < n {
        out.put_f32(0, ((total - above) / (n - up)) as f32);
    }
}

/// How many bits are set.
#[inline(always)]
fn ones(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<4>().0.iter().map(|quad| u32::from_le_bytes(*quad).count_ones()).sum()
}

impl Piece for BinGrad {
    fn class(&self, n: usize) -> Class {
        let n = n as f64;
        Class::Contractive { delta: if self.kind == Kind::B { (2.0 / n).min(1.0) } else { 0.25 / n } }
    }

    fn bound(&self, n: usize) -> usize {
        Bits(1).len(n) + if self.kind == Kind::B { 8 } else { 4 }
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        if self.kind == Kind::B {
            write_halves(simd, x, out);
            return;
        }
        let b = self.root(simd, x);
        out.f32(b);
        let draws = stream.rows(simd);
        Bits::write_marks(
            simd,
            out,
            x,
            #[inline(always)]
            |from, v| {
                // Halved, so that v + b and 2b stay finite.
                (v * 0.5 + 0.5 * b).simd_gt(draws.at(from) * b)
            },
        );
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let first = body.finite()?;
        let (down, up) = if self.kind == Kind::B { (first, body.finite()?) } else { (-first, first) };
        let (zero, down, turn) = (u32x16::splat(simd, 0), down.to_bits(), down.to_bits() ^ up.to_bits());
        Bits(1).read(
            simd,
            body,
            out.len(),
            #[inline(always)]
            |from, codes| sink.put(out, from, ((zero - codes) & turn ^ down).bitcast()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::encoded;
    use super::*;
    use crate::base::{Use, flat};

    /// The two levels that are said.
    fn halves(x: &[f32]) -> (f32, f32) {
        let w = encoded(&mut BinGrad::new(Kind::B), x, &Stream::new(0, Use::Encode, 0, 0));
        let mut levels = [0.0; 2];
        Reader::new(w.bytes()).f32s(&mut levels).unwrap();
        levels.into()
    }

    /// The level that is said.
    fn root(x: &[f32]) -> f32 {
        let w = encoded(&mut BinGrad::new(Kind::Pb), x, &Stream::new(0, Use::Encode, 0, 0));
        Reader::new(w.bytes()).f32().unwrap()
    }

    const TOY: [f32; 12] = [-4.0, -1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0];

    fn normal(n: usize, seed: u64) -> Vec<f32> {
        let mut s = Stream::new(seed, Use::Noise, 0, 0);
        (0..n).map(|_| s.normal()).collect()
    }

    /// The expected squared error of ±b.
    fn error(x: &[f32], b: f64) -> f64 {
        let term = |v: &f32| {
            let m = f64::from(v.abs());
            if m > b { (m - b) * (m - b) } else { b * b - m * m }
        };
        x.iter().map(term).sum()
    }

    #[test]
    fn the_toy_has_the_levels_of_the_derivation() {
        let (down, up) = halves(&TOY);
        assert_eq!(up, 3.0);
        assert!((down + 6.0 / 7.0).abs() < 1e-6);
        assert_eq!(root(&TOY), (17.0f64 / 12.0) as f32);
    }

    #[test]
    fn the_root_solves_its_equation_and_minimises_the_error() {
        let mut heavy = normal(2048, 3);
        for v in &mut heavy {
            *v = v.powi(3);
        }
        for x in [normal(2048, 1), heavy, normal(7, 2), vec![2.0; 64], vec![1e-40; 70], vec![1e38; 33], vec![0.0; 5]] {
            let b = f64::from(root(&x));
            let n = x.len() as f64;
            let above = |b: f64| x.iter().map(|v| f64::from(v.abs())).filter(|m| *m > b).sum::<f64>() / n;
            let slack = b * 1e-6;
            assert!(above(b - slack) >= b - slack - 1e-38 && above(b + slack) <= b + slack, "{b} {}", above(b));
            let best = error(&x, b);
            for step in 1..100 {
                assert!(error(&x, b * 0.02 * f64::from(step)) >= best * (1.0 - 1e-6));
            }
        }
    }

    #[test]
    fn the_deterministic_kind_explains_the_mean_and_beats_it() {
        let x = normal(2048, 9);
        let (down, up) = halves(&x);
        let mean = flat::sum(&x) / x.len() as f64;
        let within: f64 = x
            .iter()
            .map(|&v| {
                let level = if f64::from(v) >= mean { up } else { down };
                (f64::from(v) - f64::from(level)).powi(2)
            })
            .sum();
        let around: f64 = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
        assert!(within <= around && around <= flat::squared_norm(&x));
        // Symmetric entries: the levels are those of the scaled sign, ±E|v|.
        let scale = flat::norm1(&x) / x.len() as f64;
        assert!((f64::from(up) / scale - 1.0).abs() < 0.1 && (f64::from(down) / scale + 1.0).abs() < 0.1);
    }
}
