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

use super::{Class, Compressor, Piece, Pieces, Scope};
use crate::base::{Error, Reader, Result, Stream, Writer};
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

/// The nearest bfloat16, and 1 where it saturated.
#[inline]
fn to_bf16(v: f32) -> (u16, u32) {
    let bits = v.to_bits();
    let magnitude = bits & !SIGN;
    let rounded = ((magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16) as i32;
    ((bits >> 16 & 0x8000) as u16 | rounded.min(0x7F7F) as u16, u32::from(rounded > 0x7F7F))
}

#[inline]
fn from_bf16(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The nearest half, and 1 where it saturated.
#[inline]
fn to_f16(v: f32) -> (u16, u32) {
    let bits = v.to_bits();
    let magnitude = bits & !SIGN;
    // From 2⁻¹⁴ on: shift the exponent's origin and round the 13 bits that go. Below, the last place is 2⁻²⁴, as that
    // of f32 at ½: adding ½ rounds there.
    let normal = (magnitude.wrapping_sub(0x3800_0000).wrapping_add(0xFFF + (magnitude >> 13 & 1)) >> 13) as i32;
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3F00_0000) as i32;
    let rounded = if magnitude < 0x3880_0000 { subnormal } else { normal };
    ((bits >> 16 & 0x8000) as u16 | rounded.min(0x7BFF) as u16, u32::from(rounded > 0x7BFF))
}

#[inline]
fn from_f16(h: u16) -> f32 {
    let magnitude = u32::from(h & 0x7FFF);
    let normal = (magnitude << 13) + 0x3800_0000;
    let subnormal = (magnitude as i32 as f32 * (1.0 / 16_777_216.0)).to_bits();
    let bits = if magnitude < 0x400 { subnormal } else { normal };
    f32::from_bits(bits | u32::from(h & 0x8000) << 16)
}

fn encode(x: &[f32], out: &mut Writer, to: impl Fn(f32) -> (u16, u32)) -> u64 {
    let (pairs, _) = out.room(2 * x.len()).as_chunks_mut::<2>();
    let mut saturated = 0u64;
    for (pairs, block) in pairs.chunks_mut(1024).zip(x.chunks(1024)) {
        let mut count = 0;
        for (pair, &v) in pairs.iter_mut().zip(block) {
            let (half, over) = to(v);
            *pair = half.to_le_bytes();
            count += over;
        }
        saturated += u64::from(count);
    }
    saturated
}

/// Decodes, and tells whether an exponent was all ones.
fn decode(pairs: &[[u8; 2]], out: &mut [f32], exponent: u16, from: impl Fn(u16) -> f32) -> bool {
    let mut top = 0;
    for (x, pair) in out.iter_mut().zip(pairs) {
        let half = u16::from_le_bytes(*pair);
        top = top.max((half & exponent) as i16);
        *x = from(half);
    }
    top as u16 == exponent
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

    fn encode(&mut self, x: &[f32], _: &Stream, out: &mut Writer) {
        self.saturated += match self.format {
            Format::Bf16 => encode(x, out, to_bf16),
            Format::F16 => encode(x, out, to_f16),
        };
    }

    fn decode(&mut self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        let (pairs, _) = body.raw(2 * out.len())?.as_chunks::<2>();
        let infinite = match self.format {
            Format::Bf16 => decode(pairs, out, 0x7F80, from_bf16),
            Format::F16 => decode(pairs, out, 0x7C00, from_f16),
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
    use super::*;
    use crate::base::Use;

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
                assert_eq!(to_bf16(v), (bf.to_bits(), 0), "{v:e}");
                assert_eq!(from_bf16(bf.to_bits()).to_bits(), bf.to_f32().to_bits());
            } else {
                assert_eq!(to_bf16(v), (if v > 0.0 { 0x7F7F } else { 0xFF7F }, 1));
            }
            if f.is_finite() {
                assert_eq!(to_f16(v), (f.to_bits(), 0), "{v:e}");
                assert_eq!(from_f16(f.to_bits()).to_bits(), f.to_f32().to_bits());
            } else {
                assert_eq!(to_f16(v), (if v > 0.0 { 0x7BFF } else { 0xFBFF }, 1));
            }
        }
    }

    #[test]
    fn what_is_kept_is_an_f32() {
        for v in cases() {
            for (said, over) in [(from_bf16(to_bf16(v).0), to_bf16(v).1), (from_f16(to_f16(v).0), to_f16(v).1)] {
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
        let mut w = Writer::new();
        half.encode(&[1e6, 1.0, -7e4, 65504.0], &Stream::new(0, Use::Encode, 0, 0), &mut w);
        let mut out = [0.0; 4];
        half.decode(&mut Reader::new(w.bytes()), &mut out).unwrap();
        assert_eq!((out, half.saturated()), ([65504.0, 1.0, -65504.0, 65504.0], 2));
        assert!(half.decode(&mut Reader::new(&[0, 0x7C]), &mut [0.0]).is_err());
    }
}
