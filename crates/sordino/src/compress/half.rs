//! Half: 16 bits an entry.
//!
//! # What it does
//! Rounds every entry to the nearest bfloat16 or IEEE half.
//!
//! # The step
//! ```text
//! C(v)ᵢ = the representable number nearest to vᵢ (ties: the even one)
//! beyond the largest finite one: that one, with the sign of vᵢ, and the entry is counted as saturated
//! ```
//! # Contract
//! `bf16` is contractive with δ = 1 − 2⁻¹⁶; `f16` promises only ‖C(v) − v‖ ≤ ‖v‖, because it loses what is below 6·10⁻⁸
//! and saturates at 65504. 16 bits an entry. vᵢ − C(v)ᵢ is an f32, so given = said + kept bit for bit wherever nothing
//! saturated. Not linear: sums are rounded. A message with an infinity or a NaN is refused.
//!
//! # When it helps, when it hurts
//! Half the bytes at no visible loss in `bf16`, the range of f32. `f16` has three more bits and a narrow range: use it
//! for parameters and scaled updates, not for raw gradients.
//!
//! # Reference
//! IEEE 754-2019 binary16; bfloat16 is the upper half of a binary32.
//!
//! # Deviations from the paper
//! Overflow saturates; the standard rounds it to infinity.

use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{
    Bytes as _, ROW, Select as _, Simd, SimdBase as _, SimdCvtFloat as _, SimdNarrow as _, SimdWiden as _, f32x16,
    i32x16, row, u16x32, u32x16,
};
use crate::base::{Error, Reader, Result, Slot, Stream};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "half",
    about: "every entry rounded to 16 bits",
    keys: &[Key {
        name: "format",
        default: "bf16",
        about: "bf16 (range of f32) or f16 (three more bits, up to 65504)",
    }],
    build: |args| {
        let format = [Format::Bf16, Format::F16][args.choice("format", &["bf16", "f16"])?];
        Ok(Box::new(Pieces::new(Half::new(format), Scope::Tensor)))
    },
};

/// Which 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 8 bits of exponent, 8 of significand.
    Bf16,
    /// 5 bits of exponent, 11 of significand.
    F16,
}

/// Rounding to 16 bits.
#[derive(Clone, Debug)]
pub struct Half {
    format: Format,
    saturated: u64,
}

impl Half {
    /// Rounds to `format`.
    pub fn new(format: Format) -> Self {
        Self { format, saturated: 0 }
    }
}

const SIGN: u32 = 0x8000_0000;

/// 1 where a number is above `most`, else 0; both are below 2³¹.
#[inline(always)]
fn above<S: Simd>(numbers: u32x16<S>, most: u32) -> u32x16<S> {
    ((numbers ^ !0) + (most + 1)) >> 31
}

/// The nearest bfloat16s in the low halves; `over` counts those beyond the largest.
#[inline(always)]
fn to_bf16<S: Simd>(v: f32x16<S>, over: &mut u32x16<S>) -> u32x16<S> {
    let bits: u32x16<S> = v.bitcast();
    let magnitude = bits & !SIGN;
    let rounded = (magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16;
    *over += above(rounded, 0x7F7F);
    bits >> 16 & 0x8000 | rounded.min(0x7F7F)
}

#[inline(always)]
fn from_bf16<S: Simd>(h: u32x16<S>) -> f32x16<S> {
    (h << 16).bitcast()
}

/// The nearest halves in the low halves; `over` counts those beyond the largest.
#[inline(always)]
fn to_f16<S: Simd>(v: f32x16<S>, over: &mut u32x16<S>) -> u32x16<S> {
    let bits: u32x16<S> = v.bitcast();
    let magnitude = bits & !SIGN;
    // From 2⁻¹⁴ on: shift the exponent's origin and round the 13 bits that go. Below, the last place is 2⁻²⁴, as that
    // of f32 at ½: adding ½ rounds there.
    let normal = (magnitude - 0x3800_0000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    let subnormal = (magnitude.bitcast::<f32x16<S>>() + 0.5).bitcast::<u32x16<S>>() - 0x3F00_0000;
    let rounded = magnitude.simd_lt(0x3880_0000).select(subnormal, normal);
    *over += above(rounded, 0x7BFF);
    bits >> 16 & 0x8000 | rounded.min(0x7BFF)
}

#[inline(always)]
fn from_f16<S: Simd>(h: u32x16<S>) -> f32x16<S> {
    let magnitude = h & 0x7FFF;
    let normal = (magnitude << 13) + 0x3800_0000;
    let small = f32x16::float_from(magnitude.bitcast::<i32x16<S>>()) * (1.0 / 16_777_216.0);
    let bits = magnitude.simd_lt(0x400).select(small.bitcast(), normal);
    (bits | (h & 0x8000) << 16).bitcast()
}

/// Two rows, which are one vector of halves.
const BOTH: usize = 2 * ROW;

/// Writes what `to` makes of every row.
#[inline(always)]
fn encode<S: Simd>(simd: S, x: &[f32], out: &mut Slot, mut to: impl FnMut(f32x16<S>) -> u32x16<S>) {
    let (whole, rest) = x.as_chunks::<BOTH>();
    let (places, last) = out.room(2 * x.len()).as_chunks_mut::<{ 2 * BOTH }>();
    for (place, x) in places.iter_mut().zip(whole) {
        let (low, high) = x.split_at(ROW);
        *place = bytes(to(row(simd, low)).narrow(to(row(simd, high))));
    }
    if !rest.is_empty() {
        let (low, high) = rest.split_at(rest.len().min(ROW));
        let halves = bytes(to(row(simd, low)).narrow(to(row(simd, high))));
        last.copy_from_slice(&halves[..last.len()]);
    }
}

/// Halves, little-endian.
#[inline(always)]
fn bytes<S: Simd>(halves: u16x32<S>) -> [u8; 2 * BOTH] {
    let mut bytes = [0; 2 * BOTH];
    for (pair, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves.to_array()) {
        *pair = half.to_le_bytes();
    }
    bytes
}

/// The two rows of these bytes.
#[inline(always)]
fn rows<S: Simd>(simd: S, bytes: &[u8; 2 * BOTH]) -> (u32x16<S>, u32x16<S>) {
    let mut halves = [0; BOTH];
    for (half, pair) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *half = u16::from_le_bytes(*pair);
    }
    u16x32::load_array(simd, halves).widen()
}

/// Decodes, and tells whether an exponent was all ones.
#[inline(always)]
fn decode<S: Simd>(
    simd: S,
    halves: &[u8],
    out: &mut [f32],
    sink: impl Sink,
    exponent: u32,
    from: impl Fn(u32x16<S>) -> f32x16<S>,
) -> bool {
    let mut top = u32x16::splat(simd, 0);
    let (whole, rest) = halves.as_chunks::<{ 2 * BOTH }>();
    let (outs, out_rest) = out.as_chunks_mut::<BOTH>();
    for (bytes, out) in whole.iter().zip(outs) {
        let (low, high) = rows(simd, bytes);
        top = top.max(low & exponent).max(high & exponent);
        sink.put(out, 0, from(low));
        sink.put(out, ROW, from(high));
    }
    let mut padded = [0; 2 * BOTH];
    padded[..rest.len()].copy_from_slice(rest);
    let (low, high) = rows(simd, &padded);
    top = top.max(low & exponent).max(high & exponent);
    sink.put(out_rest, 0, from(low));
    sink.put(out_rest, ROW.min(out_rest.len()), from(high));
    top.reduce_max() == exponent
}

impl Piece for Half {
    fn class(&self, _: usize) -> Class {
        match self.format {
            Format::Bf16 => Class::Contractive { delta: 1.0 - 1.0 / 65_536.0 },
            Format::F16 => Class::Clipping,
        }
    }

    fn bound(&self, n: usize) -> usize {
        2 * n
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], _: &Stream, out: &mut Slot) {
        // Counts of a lane stay below what it holds: a piece has fewer than 2³⁶ entries.
        let mut count = u32x16::splat(simd, 0);
        match self.format {
            Format::Bf16 => encode(
                simd,
                x,
                out,
                #[inline(always)]
                |v| to_bf16(v, &mut count),
            ),
            Format::F16 => encode(
                simd,
                x,
                out,
                #[inline(always)]
                |v| to_f16(v, &mut count),
            ),
        }
        self.saturated += count.to_array().into_iter().map(u64::from).sum::<u64>();
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let halves = body.raw(2 * out.len())?;
        let infinite = match self.format {
            Format::Bf16 => decode(
                simd,
                halves,
                out,
                sink,
                0x7F80,
                #[inline(always)]
                |h| from_bf16(h),
            ),
            Format::F16 => decode(
                simd,
                halves,
                out,
                sink,
                0x7C00,
                #[inline(always)]
                |h| from_f16(h),
            ),
        };
        if infinite {
            return Err(Error::decode("a 16-bit entry is not finite"));
        }
        Ok(())
    }

    fn saturated(&self) -> u64 {
        self.saturated
    }

    fn by_entry(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{decoded, encoded};
    use super::*;
    use crate::base::Use;
    use crate::base::simd::widest;

    /// What one entry becomes, and 1 where it saturated; and back.
    fn to(format: Format, v: f32) -> (u16, u32) {
        widest!(simd => {
            let (v, mut over) = (f32x16::splat(simd, v), u32x16::splat(simd, 0));
            let half = match format {
                Format::Bf16 => to_bf16(v, &mut over),
                Format::F16 => to_f16(v, &mut over),
            };
            (half.to_array()[3] as u16, over.to_array()[3])
        })
    }

    fn from(format: Format, h: u16) -> f32 {
        widest!(simd => {
            let h = u32x16::splat(simd, u32::from(h));
            match format {
                Format::Bf16 => from_bf16(h),
                Format::F16 => from_f16(h),
            }
            .to_array()[3]
        })
    }

    fn cases() -> impl Iterator<Item = f32> {
        let mut stream = Stream::new(1, Use::Noise, 0, 0);
        let edges =
            [0.0, -0.0, 65504.0, 65519.0, 65520.0, 6.0e-8, 2.98e-8, 2.9e-8, 6.1e-5, 1.0, 1e-45, f32::MAX, f32::MIN];
        let near = (0u32..=0xFFFF).map(|h| f32::from_bits(h << 16 | 0x8000));
        let any = (0..200_000).map(move |_| f32::from_bits(stream.next_u32()));
        edges.into_iter().chain(near).chain(any).filter(|v| v.is_finite())
    }

    #[test]
    fn both_formats_agree_with_the_reference_conversion_wherever_it_is_finite() {
        for v in cases() {
            let (bf, f) = (half::bf16::from_f32(v), half::f16::from_f32(v));
            if bf.is_finite() {
                assert_eq!(to(Format::Bf16, v), (bf.to_bits(), 0), "{v:e}");
                assert_eq!(from(Format::Bf16, bf.to_bits()).to_bits(), bf.to_f32().to_bits());
            } else {
                assert_eq!(to(Format::Bf16, v), (if v > 0.0 { 0x7F7F } else { 0xFF7F }, 1));
            }
            if f.is_finite() {
                assert_eq!(to(Format::F16, v), (f.to_bits(), 0), "{v:e}");
                assert_eq!(from(Format::F16, f.to_bits()).to_bits(), f.to_f32().to_bits());
            } else {
                assert_eq!(to(Format::F16, v), (if v > 0.0 { 0x7BFF } else { 0xFBFF }, 1));
            }
        }
    }

    #[test]
    fn what_is_kept_is_an_f32() {
        for v in cases() {
            for (said, over) in [
                (from(Format::Bf16, to(Format::Bf16, v).0), to(Format::Bf16, v).1),
                (from(Format::F16, to(Format::F16, v).0), to(Format::F16, v).1),
            ] {
                let kept = v - said;
                if over == 0 {
                    assert_eq!(f64::from(kept), f64::from(v) - f64::from(said), "{v:e}");
                    assert_eq!((said + kept).to_bits() << 1, v.to_bits() << 1);
                }
            }
        }
    }

    #[test]
    fn saturations_are_counted() {
        let mut half = Half::new(Format::F16);
        let w = encoded(&mut half, &[1e6, 1.0, -7e4, 65504.0], &Stream::new(0, Use::Encode, 0, 0));
        let mut out = [0.0; 4];
        decoded(&mut half, w.bytes(), &mut out).unwrap();
        assert_eq!((out, half.saturated()), ([65504.0, 1.0, -65504.0, 65504.0], 2));
        assert!(decoded(&mut half, &[0, 0x7C], &mut [0.0]).is_err());
    }
}
