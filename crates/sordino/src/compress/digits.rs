//! Numbers of few values packed into words, in a form that vector units pack and unpack.
//!
//! A vector is cut into *sheets*. In a sheet of `m` entries with words of `p` digits there are `w = ⌈m/p⌉` words, and
//! word `j` holds entries `j, j + w, j + 2w, …`: neighbours lie in neighbouring words, so one instruction serves many.
//! [`Bits`] packs bit planes, [`Digits`] packs digits of base 3, 5 and 9 into bytes without loss: a word with value
//! `a < bᵖ` is stored as the fraction `⌈a·2ᴮ/bᵖ⌉`, from which multiplying by `b` shifts out one digit after another.
//! Every pattern of bytes is a valid sheet.
//!
//! What is packed comes from rows of sixteen entries and goes to such. The codes of a sheet lie in the first cache between
//! being made and being packed: two short loops overlap better in a CPU than one long one.

use crate::base::simd::{ROW, Simd, SimdBase as _, f32x16, mask32x16, row, tally, u32x16};
use crate::base::{Error, Reader, Result, Slot};

/// Entries in a sheet of [`Bits`].
pub const SHEET: usize = 512;

const WORDS: usize = SHEET / 32;

/// Numbers of `width` bits, 1 to 16, in bit planes, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub u32);

impl Bits {
    /// Bytes of `n` numbers.
    pub const fn len(self, n: usize) -> usize {
        4 * self.0 as usize * (n / SHEET * WORDS + (n % SHEET).div_ceil(32))
    }

    /// Bits that a code is given beside others in one word: 8 or 16, whichever holds it.
    const fn field(self) -> u32 {
        if self.0 <= 8 { 8 } else { 16 }
    }

    /// The lowest bit of every field.
    const fn ones(self) -> u32 {
        if self.0 <= 8 { 0x0101_0101 } else { 0x0001_0001 }
    }

    /// Writes one number an entry of `x`: `code(from, row)` are those of entries `from..from + 16`, asked for in order.
    #[inline(always)]
    pub fn write<S: Simd>(
        self,
        simd: S,
        out: &mut Slot,
        x: &[f32],
        mut code: impl FnMut(usize, f32x16<S>) -> u32x16<S>,
    ) {
        let (mut planes, _) = out.room(self.len(x.len())).as_chunks_mut::<4>();
        let mut codes = [0u32; SHEET];
        for (sheet, from) in x.chunks(SHEET).zip((0..).step_by(SHEET)) {
            fill(simd, &mut codes, sheet, from, &mut code);
            let words = sheet.len().div_ceil(32);
            let (head, tail) = planes.split_at_mut(words * self.0 as usize);
            if sheet.len() == SHEET {
                self.pack(simd, &codes, head);
            } else {
                self.pack_some(&codes, words, head);
            }
            planes = tail;
        }
    }

    /// Writes one bit an entry of `x`: 1 where `mark(from, row)` is set, asked for in order. It never leaves the registers.
    #[inline(always)]
    pub fn write_marks<S: Simd>(
        simd: S,
        out: &mut Slot,
        x: &[f32],
        mut mark: impl FnMut(usize, f32x16<S>) -> mask32x16<S>,
    ) {
        let nothing = u32x16::splat(simd, 0);
        let (plane, _) = out.room(Self(1).len(x.len())).as_chunks_mut::<4>();
        let (sheets, rest) = x.as_chunks::<SHEET>();
        let (whole, last) = plane.split_at_mut(sheets.len() * WORDS);
        for (n, (sheet, words)) in sheets.iter().zip(whole.chunks_exact_mut(WORDS)).enumerate() {
            let mut packed = nothing;
            for (i, row) in sheet.as_chunks::<ROW>().0.iter().enumerate() {
                let marks = mark(n * SHEET + i * ROW, f32x16::load_array_ref(simd, row));
                packed |= tally(simd, nothing, marks) << i as u32;
            }
            put(packed, words);
        }
        let mut codes = [0u32; SHEET];
        for (i, (x, codes)) in rest.chunks(ROW).zip(codes.as_chunks_mut::<ROW>().0).enumerate() {
            tally(simd, nothing, mark(sheets.len() * SHEET + i * ROW, row(simd, x))).store_array(codes);
        }
        codes[rest.len()..].fill(0);
        Self(1).pack_some(&codes, rest.len().div_ceil(32), last);
    }

    /// The planes of a whole sheet.
    #[inline(always)]
    fn pack<S: Simd>(self, simd: S, codes: &[u32; SHEET], planes: &mut [[u8; 4]]) {
        let (rows, _) = codes.as_chunks::<ROW>();
        let nothing = u32x16::splat(simd, 0);
        // Row r: the codes that lie `field` rows apart, beside one another, so that a plane is gathered from few rows.
        let mut merged = [nothing; 16];
        let merged = &mut merged[..self.field() as usize];
        for (i, both) in merged.iter_mut().enumerate() {
            for part in 0..32 / self.field() {
                let shift = part * self.field();
                *both |= u32x16::load_array_ref(simd, &rows[i + shift as usize]) << shift;
            }
        }
        for (plane, words) in (0..self.0).rev().zip(planes.chunks_exact_mut(WORDS)) {
            let mut packed = nothing;
            for codes in merged.iter().rev() {
                packed = packed << 1 | (*codes >> plane & self.ones());
            }
            put(packed, words);
        }
    }

    /// The planes of a sheet that is not whole, of so many words each.
    fn pack_some(self, codes: &[u32; SHEET], words: usize, planes: &mut [[u8; 4]]) {
        for (plane, quads) in (0..self.0).rev().zip(planes.chunks_exact_mut(words.max(1))) {
            let mut packed = [0u32; WORDS];
            for (r, row) in codes[..32 * words].chunks_exact(words.max(1)).enumerate() {
                for (word, code) in packed.iter_mut().zip(row) {
                    *word |= (code >> plane & 1) << r;
                }
            }
            for (quad, word) in quads.iter_mut().zip(packed) {
                *quad = word.to_le_bytes();
            }
        }
    }

    /// Reads `n` numbers; `take(from, codes)` is given those of entries `from..from + 16`, some beyond the end.
    #[inline(always)]
    pub fn read<S: Simd>(
        self,
        simd: S,
        body: &mut Reader,
        n: usize,
        mut take: impl FnMut(usize, u32x16<S>),
    ) -> Result<()> {
        let (quads, _) = body.raw(self.len(n))?.as_chunks::<4>();
        let (sheets, rest) = (n / SHEET, n % SHEET);
        let (whole, last) = quads.split_at(sheets * WORDS * self.0 as usize);
        for (i, planes) in whole.chunks_exact(WORDS * self.0 as usize).enumerate() {
            self.read_sheet(
                simd,
                planes,
                #[inline(always)]
                |at, codes| take(i * SHEET + at, codes),
            );
        }
        let (mut codes, words) = ([0u32; SHEET], rest.div_ceil(32));
        for quads in last.chunks_exact(words.max(1)) {
            for (r, row) in codes[..32 * words].chunks_exact_mut(words.max(1)).enumerate() {
                for (code, quad) in row.iter_mut().zip(quads) {
                    *code = *code << 1 | u32::from_le_bytes(*quad) >> r & 1;
                }
            }
        }
        for (i, codes) in codes.as_chunks::<ROW>().0[..rest.div_ceil(ROW)].iter().enumerate() {
            take(sheets * SHEET + i * ROW, u32x16::load_array_ref(simd, codes));
        }
        Ok(())
    }

    #[inline(always)]
    fn read_sheet<S: Simd>(self, simd: S, planes: &[[u8; 4]], mut take: impl FnMut(usize, u32x16<S>)) {
        if self.0 == 1 {
            let packed = get(simd, planes);
            for i in 0..32 {
                take(i * ROW, packed >> i as u32 & 1);
            }
            return;
        }
        let mut merged = [u32x16::splat(simd, 0); 16];
        let merged = &mut merged[..self.field() as usize];
        for planes in planes.chunks_exact(WORDS) {
            let mut packed = get(simd, planes);
            for codes in &mut *merged {
                *codes = *codes << 1 | (packed & self.ones());
                packed >>= 1;
            }
        }
        let mask = (1 << self.0) - 1;
        for part in 0..32 / self.field() {
            let shift = part * self.field();
            for (i, codes) in merged.iter().enumerate() {
                take((i + shift as usize) * ROW, *codes >> shift & mask);
            }
        }
    }
}

/// Fills `codes` with those of the entries `x`, which begin at `from`, and zeros.
#[inline(always)]
fn fill<S: Simd, const N: usize, F: FnMut(usize, f32x16<S>) -> u32x16<S>>(
    simd: S,
    codes: &mut [u32; N],
    x: &[f32],
    from: usize,
    code: &mut F,
) {
    for (i, (x, codes)) in x.chunks(ROW).zip(codes.as_chunks_mut::<ROW>().0).enumerate() {
        // Through the reference itself: called by way of `&mut F` it would not be a part of the kernel.
        (*code)(from + i * ROW, row(simd, x)).store_array(codes);
    }
    codes[x.len()..].fill(0);
}

/// Sixteen words, little-endian.
#[inline(always)]
fn put<S: Simd>(words: u32x16<S>, quads: &mut [[u8; 4]]) {
    for (quad, word) in quads.iter_mut().zip(words.to_array()) {
        *quad = word.to_le_bytes();
    }
}

/// The first sixteen words, back.
#[inline(always)]
fn get<S: Simd>(simd: S, quads: &[[u8; 4]]) -> u32x16<S> {
    let mut words = [0; WORDS];
    for (word, quad) in words.iter_mut().zip(quads) {
        *word = u32::from_le_bytes(*quad);
    }
    u32x16::load_array(simd, words)
}

/// Digits of base `2^SHIFT + 1`, `PER` of them in `BYTES` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits<const SHIFT: u32, const PER: usize, const BYTES: usize>;

/// Base 3, five in a byte: 1.6 bits each.
pub type Threes = Digits<1, 5, 1>;
/// Base 5, ten in three bytes: 2.4 bits each.
pub type Fives = Digits<2, 10, 3>;
/// Base 9, five in two bytes: 3.2 bits each.
pub type Nines = Digits<3, 5, 2>;

/// Entries in a sheet of [`Digits`]: whole words of five and of ten digits.
pub const DIGIT_SHEET: usize = 320;
const DIGIT_WORDS: usize = 64;
/// Added to an f64, it leaves the nearest whole number (an even one of two) in the low bits.
const TO_WHOLE: f64 = 4_503_599_627_370_496.0;

impl<const SHIFT: u32, const PER: usize, const BYTES: usize> Digits<SHIFT, PER, BYTES> {
    const PER_VALUE: f64 = (1u64 << (8 * BYTES)) as f64 / ((1u64 << SHIFT) + 1).pow(PER as u32) as f64;
    /// Words of a whole sheet.
    const WORDS: usize = DIGIT_SHEET / PER;

    /// ⌈a·2ᴮ/bᵖ⌉, in a form that vector units have: a fraction that is not whole is farther from a whole number than f64
    /// rounds, so that it and a half, to the nearest, is the ceiling.
    #[inline(always)]
    fn fraction(value: u32) -> u32 {
        (f64::from(value as i32) * Self::PER_VALUE + 0.5 + TO_WHOLE).to_bits() as u32
    }

    /// Bytes of `n` digits.
    pub const fn len(n: usize) -> usize {
        BYTES * n.div_ceil(PER)
    }

    /// Writes one digit an entry of `x`: `digit(from, row)` are those of entries `from..from + 16`, asked for in order.
    #[inline(always)]
    pub fn write<S: Simd>(simd: S, out: &mut Slot, x: &[f32], mut digit: impl FnMut(usize, f32x16<S>) -> u32x16<S>) {
        let (mut places, _) = out.room(Self::len(x.len())).as_chunks_mut::<BYTES>();
        let mut digits = [0u32; DIGIT_SHEET];
        for (sheet, from) in x.chunks(DIGIT_SHEET).zip((0..).step_by(DIGIT_SHEET)) {
            fill(simd, &mut digits, sheet, from, &mut digit);
            let mut values = [0u32; DIGIT_WORDS];
            if sheet.len() == DIGIT_SHEET {
                let (rows, _) = digits.as_chunks::<ROW>();
                for (column, values) in values[..Self::WORDS].as_chunks_mut::<ROW>().0.iter_mut().enumerate() {
                    let mut value = u32x16::splat(simd, 0);
                    for row in rows[column..].iter().step_by(Self::WORDS / ROW) {
                        value = value + (value << SHIFT) + u32x16::load_array_ref(simd, row);
                    }
                    value.store_array(values);
                }
            } else {
                let words = sheet.len().div_ceil(PER);
                for row in digits[..PER * words].chunks_exact(words) {
                    for (value, digit) in values.iter_mut().zip(row) {
                        *value += (*value << SHIFT) + digit;
                    }
                }
            }
            let mut fractions = [0u32; DIGIT_WORDS];
            for (fraction, value) in fractions.iter_mut().zip(values) {
                *fraction = Self::fraction(value);
            }
            let (head, tail) = places.split_at_mut(sheet.len().div_ceil(PER));
            for (place, fraction) in head.iter_mut().zip(fractions) {
                place.copy_from_slice(&fraction.to_le_bytes()[..BYTES]);
            }
            places = tail;
        }
    }

    /// Reads `n` digits; `take(from, digits)` is given those of entries `from..from + 16`, some beyond the end.
    #[inline(always)]
    pub fn read<S: Simd>(simd: S, body: &mut Reader, n: usize, mut take: impl FnMut(usize, u32x16<S>)) -> Result<()> {
        const { assert!(Self::WORDS.is_multiple_of(ROW), "a column of words is a row") };
        let (mut places, _) = body.raw(Self::len(n))?.as_chunks::<BYTES>();
        let below_one = (1 << (8 * BYTES)) - 1;
        for from in (0..n).step_by(DIGIT_SHEET) {
            let m = DIGIT_SHEET.min(n - from);
            let words = m.div_ceil(PER);
            let (head, tail) = places.split_at(words);
            let mut fractions = [0u32; DIGIT_WORDS];
            for (fraction, place) in fractions.iter_mut().zip(head) {
                *fraction = place.iter().rev().fold(0, |f, &b| f << 8 | u32::from(b));
            }
            places = tail;
            if m == DIGIT_SHEET {
                for (column, fractions) in fractions[..Self::WORDS].as_chunks::<ROW>().0.iter().enumerate() {
                    let mut fraction = u32x16::load_array_ref(simd, fractions);
                    for row in (column..DIGIT_SHEET / ROW).step_by(Self::WORDS / ROW) {
                        let shifted = fraction + (fraction << SHIFT);
                        take(from + row * ROW, shifted >> (8 * BYTES as u32));
                        fraction = shifted & below_one;
                    }
                }
                continue;
            }
            let mut digits = [0u32; SHEET];
            for row in digits[..PER * words].chunks_exact_mut(words) {
                for (fraction, digit) in fractions[..words].iter_mut().zip(row) {
                    let shifted = *fraction + (*fraction << SHIFT);
                    *digit = shifted >> (8 * BYTES);
                    *fraction = shifted & below_one;
                }
            }
            for (i, digits) in digits.as_chunks::<ROW>().0[..m.div_ceil(ROW)].iter().enumerate() {
                take(from + i * ROW, u32x16::load_array_ref(simd, digits));
            }
        }
        Ok(())
    }
}

/// The refusal of a code that no encoder writes.
pub fn unknown_code(what: &str, came: u32, most: u32) -> Error {
    Error::decode(format!("{what} {came} is above {most}, the most that there is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Writer;
    use crate::base::simd::{Bytes as _, widest};

    /// Codes as entries with these bits.
    fn entries(codes: impl Iterator<Item = u32>) -> Vec<f32> {
        codes.map(f32::from_bits).collect()
    }

    /// A message of so many bytes, all of them filled.
    fn written(bytes: usize, fill: impl FnOnce(&mut Slot)) -> Writer {
        let mut w = Writer::new();
        let mut slot = w.slot(bytes);
        fill(&mut slot);
        assert!(slot.full());
        w
    }

    /// Writes codes by `write`, which takes the bits of entries, and expects them back from `read`.
    fn there_and_back(
        n: usize,
        base: u32,
        bytes: usize,
        write: impl Fn(&mut Slot, &[f32]),
        read: impl Fn(&mut Reader, usize, &mut dyn FnMut(usize, [u32; ROW])),
    ) {
        let codes: Vec<u32> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % base).collect();
        let w = written(bytes, |slot| write(slot, &entries(codes.iter().copied())));
        let mut back = vec![99; n.next_multiple_of(ROW)];
        let mut r = Reader::new(w.bytes());
        read(&mut r, n, &mut |from, row| back[from..from + ROW].copy_from_slice(&row));
        r.done().unwrap();
        assert_eq!(back[..n], codes, "{n} digits of base {base}");
    }

    fn write_digits<const S: u32, const P: usize, const B: usize>(slot: &mut Slot, x: &[f32]) {
        widest!(simd => Digits::<S, P, B>::write(simd, slot, x, |_, row| row.bitcast()));
    }

    fn read_digits<const S: u32, const P: usize, const B: usize>(
        r: &mut Reader,
        n: usize,
        take: &mut dyn FnMut(usize, [u32; ROW]),
    ) -> Result<()> {
        widest!(simd => Digits::<S, P, B>::read(simd, r, n, |from, row| take(from, row.to_array())))
    }

    fn digits<const S: u32, const P: usize, const B: usize>(n: usize, bytes: usize) {
        let read = |r: &mut Reader, n, take: &mut dyn FnMut(_, _)| read_digits::<S, P, B>(r, n, take).unwrap();
        there_and_back(n, (1 << S) + 1, bytes, write_digits::<S, P, B>, read);
    }

    #[test]
    fn what_is_packed_comes_back_in_the_promised_bytes() {
        for n in [0, 1, 4, 5, 9, 10, 31, 33, 319, 320, 321, 512, 513, 2048, 5000] {
            for width in 1..=16 {
                let bits = Bits(width);
                there_and_back(
                    n,
                    1 << width,
                    bits.len(n),
                    |slot, x| widest!(simd => bits.write(simd, slot, x, |_, row| row.bitcast())),
                    |r, n, take| {
                        widest!(simd => bits.read(simd, r, n, |from, row| take(from, row.to_array()))).unwrap();
                    },
                );
                assert!(8 * bits.len(n) <= width as usize * n.next_multiple_of(32));
            }
            digits::<1, 5, 1>(n, n.div_ceil(5));
            digits::<2, 10, 3>(n, 3 * n.div_ceil(10));
            digits::<3, 5, 2>(n, 2 * n.div_ceil(5));
        }
    }

    #[test]
    fn every_word_of_digits_is_told_apart() {
        // Every word of five base-3 and of five base-9 digits, a sheet of 64 or fewer words at a time.
        fn all<const S: u32, const B: usize>(base: u32) {
            for first in (0..base.pow(5)).step_by(64) {
                let words = 64.min(base.pow(5) - first) as usize;
                let digit = |i: usize| (first + (i % words) as u32) / base.pow(4 - (i / words) as u32) % base;
                let w = written(words * B, |slot| write_digits::<S, 5, B>(slot, &entries((0..5 * words).map(digit))));
                let mut same = |from: usize, row: [u32; ROW]| {
                    assert!((0..ROW).all(|i| from + i >= 5 * words || row[i] == digit(from + i)));
                };
                read_digits::<S, 5, B>(&mut Reader::new(w.bytes()), 5 * words, &mut same).unwrap();
            }
        }
        all::<1, 1>(3);
        all::<3, 2>(9);
        for digit in 0..5 {
            let w = written(6, |slot| write_digits::<2, 10, 3>(slot, &entries([digit; 20].into_iter())));
            let mut same = |from: usize, row: [u32; ROW]| assert!((0..ROW).all(|i| from + i >= 20 || row[i] == digit));
            read_digits::<2, 10, 3>(&mut Reader::new(w.bytes()), 20, &mut same).unwrap();
        }
    }

    #[test]
    fn every_fraction_is_the_ceiling() {
        assert!((0..5u32.pow(10)).all(|v| u64::from(Fives::fraction(v)) == (u64::from(v) << 24).div_ceil(9_765_625)));
        assert!((0..9u32.pow(5)).all(|v| Nines::fraction(v) == (v << 16).div_ceil(59_049)));
        assert!((0..3u32.pow(5)).all(|v| Threes::fraction(v) == (v << 8).div_ceil(243)));
    }

    #[test]
    fn every_pattern_of_bytes_gives_digits_below_the_base() {
        let below = |base: u32| move |_: usize, row: [u32; ROW]| assert!(row.iter().all(|x| *x < base));
        let bytes: Vec<u8> = (0..=255).collect();
        read_digits::<1, 5, 1>(&mut Reader::new(&bytes), 1280, &mut below(3)).unwrap();
        read_digits::<2, 10, 3>(&mut Reader::new(&[0xFF; 96]), 320, &mut below(5)).unwrap();
        read_digits::<3, 5, 2>(&mut Reader::new(&[0xFF; 128]), 320, &mut below(9)).unwrap();
        assert!(read_digits::<3, 5, 2>(&mut Reader::new(&[0xFF; 127]), 320, &mut |_, _| ()).is_err());
    }
}
