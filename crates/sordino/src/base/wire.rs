//! Messages: words of bits, varints, a checksum, validated decoding.
//!
//! A sealed message is `body · crc32(body)`, the checksum little-endian. [`Reader::open`] verifies it before anything
//! is believed, every read checks what is left, and nothing allocates by a length that arrived.

use super::error::{Error, Result};

/// Bytes being written. Reusable: [`Writer::clear`] keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// Memory that has been written to; what counts is its first `len` bytes.
    memory: Vec<u8>,
    len: usize,
}

/// Bytes of the checksum that [`Writer::seal`] appends.
pub const SEAL: usize = 4;

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was written, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.raw(&[v]);
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, v: u32) {
        self.raw(&v.to_le_bytes());
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, v: u64) {
        self.raw(&v.to_le_bytes());
    }

    /// Seven bits a byte, low first: one byte below 128, at most ten.
    pub fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.u8(v as u8 | 0x80);
            v >>= 7;
        }
        self.u8(v as u8);
    }

    /// One f32, little-endian.
    pub fn f32(&mut self, v: f32) {
        self.raw(&v.to_le_bytes());
    }

    /// Many f32, little-endian.
    pub fn f32s(&mut self, v: &[f32]) {
        self.slot(4 * v.len()).f32s(v);
    }

    /// Raw bytes.
    pub fn raw(&mut self, v: &[u8]) {
        self.slot(v.len()).room(v.len()).copy_from_slice(v);
    }

    /// Appends `n` bytes for somebody to fill, all of them: until then they are what the memory held before.
    pub fn slot(&mut self, n: usize) -> Slot<'_> {
        let at = self.len;
        self.len += n;
        if self.memory.len() < self.len {
            self.memory.resize(self.len, 0);
        }
        Slot { bytes: &mut self.memory[at..self.len], at: 0 }
    }

    /// Appends the checksum of everything from byte `from` on. The message is then `bytes()[from..]`.
    pub fn seal(&mut self, from: usize) {
        let sum = crc32fast::hash(&self.bytes()[from..]);
        self.u32(sum);
    }
}

/// A known number of bytes of a message, filled from the first to the last. More than that panics.
#[derive(Debug)]
pub struct Slot<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Slot<'a> {
    /// The next `n` bytes, for somebody else to fill.
    pub fn slot(&mut self, n: usize) -> Slot<'_> {
        Slot { bytes: self.room(n), at: 0 }
    }

    /// Two slots, of which the first has `n` bytes. Nothing may be in it yet.
    pub fn split(self, n: usize) -> [Slot<'a>; 2] {
        debug_assert_eq!(self.at, 0);
        let (near, far) = self.bytes.split_at_mut(n);
        [near, far].map(|bytes| Slot { bytes, at: 0 })
    }

    /// What has been filled.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Whether all of it has been filled.
    pub fn full(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `n` bytes, to be filled at once; they are left over from something else.
    pub fn room(&mut self, n: usize) -> &mut [u8] {
        let at = self.at;
        self.at += n;
        &mut self.bytes[at..self.at]
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, v: u64) {
        self.room(8).copy_from_slice(&v.to_le_bytes());
    }

    /// One f32, little-endian.
    pub fn f32(&mut self, v: f32) {
        self.room(4).copy_from_slice(&v.to_le_bytes());
    }

    /// Writes one f32 over what was filled at `at`, for what is known only later.
    pub fn put_f32(&mut self, at: usize, v: f32) {
        self.bytes[at..at + 4].copy_from_slice(&v.to_le_bytes());
    }

    /// Many f32, little-endian.
    pub fn f32s(&mut self, v: &[f32]) {
        let (quads, _) = self.room(4 * v.len()).as_chunks_mut::<4>();
        for (quad, x) in quads.iter_mut().zip(v) {
            *quad = x.to_le_bytes();
        }
    }

    /// Whole numbers of `width` bits each (1 to 32), packed low bit first into 64-bit words, padded to a byte.
    pub fn packed(&mut self, width: u32, values: impl IntoIterator<Item = u32>) {
        debug_assert!((1..=32).contains(&width));
        let (mut word, mut used) = (0u64, 0u32);
        for value in values {
            debug_assert!(width == 32 || value >> width == 0, "{value} needs more than {width} bits");
            word |= u64::from(value) << used;
            used += width;
            if used >= 64 {
                self.u64(word);
                used -= 64;
                word = if used == 0 { 0 } else { u64::from(value) >> (width - used) };
            }
        }
        let last = used.div_ceil(8) as usize;
        self.room(last).copy_from_slice(&word.to_le_bytes()[..last]);
    }
}

/// Bytes needed for `n` numbers of `width` bits.
pub const fn packed_len(width: u32, n: usize) -> usize {
    (n * width as usize).div_ceil(8)
}

/// Bits that tell `n` things apart: ⌈log₂ n⌉, at least 1.
pub const fn bits_for(n: usize) -> u32 {
    if n <= 2 { 1 } else { usize::BITS - (n - 1).leading_zeros() }
}

/// Validated reading of bytes that came from somewhere else.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads plain bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Verifies the checksum of a sealed message and reads its body.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let (body, sum) = bytes
            .split_last_chunk::<SEAL>()
            .ok_or_else(|| Error::decode(format!("a message of {} bytes is shorter than its checksum", bytes.len())))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Error::decode(format!(
                "the checksum of a message of {} bytes does not match: it was damaged on the way or is no message",
                bytes.len()
            )));
        }
        Ok(Self { rest: body })
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| Error::decode(format!("a message ends {} bytes too early", n - self.rest.len())))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| Error::decode(format!("a message ends {} bytes too early", N - self.rest.len())))?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of seven bits a byte.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::decode("a varint is longer than 64 bits"))
    }

    /// One f32.
    pub fn f32(&mut self) -> Result<f32> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    /// One f32 that must be finite, as every level and scale is.
    pub fn finite(&mut self) -> Result<f32> {
        let v = self.f32()?;
        if v.is_finite() { Ok(v) } else { Err(Error::decode(format!("a scale is {v}, it must be finite"))) }
    }

    /// Fills `out` with f32.
    pub fn f32s(&mut self, out: &mut [f32]) -> Result<()> {
        let bytes = self.raw(out.len().checked_mul(4).ok_or_else(|| Error::decode("a length overflows"))?)?;
        let (quads, _) = bytes.as_chunks::<4>();
        for (x, quad) in out.iter_mut().zip(quads) {
            *x = f32::from_le_bytes(*quad);
        }
        Ok(())
    }

    /// Calls `each(i, value)` for `n` numbers of `width` bits packed by [`Slot::packed`].
    pub fn packed(&mut self, width: u32, n: usize, mut each: impl FnMut(usize, u32) -> Result<()>) -> Result<()> {
        debug_assert!((1..=32).contains(&width));
        let total = n.checked_mul(width as usize).ok_or_else(|| Error::decode("a length overflows"))?.div_ceil(8);
        let bytes = self.raw(total)?;
        let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
        let (mut word, mut have, mut at) = (0u64, 0u32, 0usize);
        for i in 0..n {
            if have < width {
                let fresh = if let Some(quad) = bytes.get(at..at + 4) {
                    at += 4;
                    u64::from(u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]))
                } else {
                    let tail = &bytes[at..];
                    at = bytes.len();
                    tail.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b))
                };
                word |= fresh << have;
                have += 32;
            }
            each(i, word as u32 & mask)?;
            word >>= width;
            have -= width;
        }
        Ok(())
    }

    /// Refuses bytes left over.
    pub fn done(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::decode(format!("a message has {} bytes more than its form allows", self.rest.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose memory holds something from before.
    fn dirty() -> Writer {
        let mut w = Writer::new();
        w.raw(&[0xA5; 1000]);
        w.clear();
        w
    }

    #[test]
    fn slots_are_filled_side_by_side_and_nothing_old_shows() {
        let mut w = dirty();
        w.u8(7);
        let [mut near, mut far] = w.slot(14).split(6);
        far.u64(1);
        near.room(2).fill(0);
        assert!(far.full() && !near.full());
        near.f32(0.0);
        near.put_f32(2, 1.5);
        assert_eq!(near.bytes(), [0, 0, 0, 0, 0xC0, 0x3F]);
        w.u32(9);
        assert_eq!(w.bytes(), [7, 0, 0, 0, 0, 0xC0, 0x3F, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        w.clear();
        assert!(w.bytes().is_empty());
    }

    #[test]
    fn what_is_packed_comes_back_at_every_width() {
        for width in 1..=32u32 {
            let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
            for n in [0usize, 1, 2, 7, 63, 64, 65, 200] {
                let values: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761) & mask).collect();
                let mut w = dirty();
                let mut slot = w.slot(packed_len(width, n));
                slot.packed(width, values.iter().copied());
                assert!(slot.full());
                let mut back = vec![0; n];
                let mut r = Reader::new(w.bytes());
                r.packed(width, n, |i, v| {
                    back[i] = v;
                    Ok(())
                })
                .unwrap();
                r.done().unwrap();
                assert_eq!(back, values, "width {width}, n {n}");
            }
        }
    }

    #[test]
    fn varints_come_back_and_overlong_ones_do_not() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut w = Writer::new();
            w.varint(v);
            assert_eq!(Reader::new(w.bytes()).varint().unwrap(), v);
        }
        assert!(Reader::new(&[0xFF; 11]).varint().is_err());
        assert!(Reader::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut w = Writer::new();
        w.f32s(&[1.0, -2.5]);
        w.varint(9);
        w.seal(0);
        let mut bytes = w.bytes().to_vec();
        let mut r = Reader::open(&bytes).unwrap();
        let mut out = [0.0; 2];
        r.f32s(&mut out).unwrap();
        assert_eq!((out, r.varint().unwrap()), ([1.0, -2.5], 9));
        r.done().unwrap();
        bytes[3] ^= 0x10;
        assert!(Reader::open(&bytes).is_err());
        assert!(Reader::open(&[1, 2]).is_err());
    }

    #[test]
    fn bits_tell_things_apart() {
        assert_eq!([1, 2, 3, 4, 5, 1024, 1025].map(bits_for), [1, 1, 2, 2, 3, 10, 11]);
    }
}
