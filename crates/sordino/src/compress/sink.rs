//! Where what is decoded goes: it overwrites a vector, or is added to it.
//!
//! A decoder is written once, for any [`Sink`], so that whoever adds up needs no vector of what was said.

use crate::base::simd::{ROW, Simd, SimdBase as _, f32x16};
use crate::base::{Reader, Result};

/// What a number that is read does to the entry that is there.
pub trait Sink: Copy + Send + Sync {
    /// Whether entries that nothing is said of stay as they are; else they become 0.
    const KEEPS: bool;

    /// The entry afterwards.
    fn one(self, there: f32, read: f32) -> f32;

    /// The same for sixteen.
    fn row<S: Simd>(self, there: f32x16<S>, read: f32x16<S>) -> f32x16<S>;

    /// A row that is read, for the entries from `from` on, as far as there are any.
    #[inline(always)]
    fn put<S: Simd>(self, out: &mut [f32], from: usize, read: f32x16<S>) {
        let out = &mut out[from..];
        if let Some(out) = out.first_chunk_mut::<ROW>() {
            self.row(f32x16::load_array_ref(read.simd, out), read).store_array(out);
        } else {
            self.all(out, &read.to_array());
        }
    }

    /// Numbers that are read, one an entry.
    #[inline(always)]
    fn all(self, out: &mut [f32], read: &[f32]) {
        for (x, v) in out.iter_mut().zip(read) {
            *x = self.one(*x, *v);
        }
    }

    /// As many f32 of a message as there are entries.
    #[inline(always)]
    fn floats(self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        let (quads, _) = body.raw(size_of_val(out))?.as_chunks::<4>();
        for (x, quad) in out.iter_mut().zip(quads) {
            *x = self.one(*x, f32::from_le_bytes(*quad));
        }
        Ok(())
    }
}

/// What is read takes the place of what is there.
#[derive(Clone, Copy, Debug)]
pub struct Overwrite;

impl Sink for Overwrite {
    const KEEPS: bool = false;

    #[inline(always)]
    fn one(self, _: f32, read: f32) -> f32 {
        read
    }

    #[inline(always)]
    fn row<S: Simd>(self, _: f32x16<S>, read: f32x16<S>) -> f32x16<S> {
        read
    }
}

/// So many times what is read is added to what is there: two roundings, or one where the weight is 1.
#[derive(Clone, Copy, Debug)]
pub struct Add(pub f32);

impl Sink for Add {
    const KEEPS: bool = true;

    #[inline(always)]
    fn one(self, there: f32, read: f32) -> f32 {
        there + self.0 * read
    }

    #[inline(always)]
    fn row<S: Simd>(self, there: f32x16<S>, read: f32x16<S>) -> f32x16<S> {
        there + read * self.0
    }
}

/// Entries of a vector that is zero elsewhere, read in the order of the vector. Where they overwrite, zeros go a little
/// ahead of them, so that an entry is set while its surroundings are in the first cache.
pub struct Sparse<'a, K> {
    out: &'a mut [f32],
    sink: K,
    /// What lies before is written.
    known: usize,
}

impl<'a, K: Sink> Sparse<'a, K> {
    const STEP: usize = 4096;

    /// Nothing read yet.
    pub fn new(out: &'a mut [f32], sink: K) -> Self {
        Self { out, sink, known: 0 }
    }

    /// Entry `i`, which must be one of the vector's, and none that was read before.
    #[inline(always)]
    pub fn put(&mut self, i: usize, v: f32) {
        if !K::KEEPS && i >= self.known {
            self.zeros((i + 1).next_multiple_of(Self::STEP).min(self.out.len()));
        }
        self.out[i] = self.sink.one(self.out[i], v);
    }

    #[inline(never)]
    fn zeros(&mut self, until: usize) {
        self.out[self.known..until].fill(0.0);
        self.known = until;
    }

    /// All others are zero.
    pub fn finish(mut self) {
        if !K::KEEPS {
            self.zeros(self.out.len());
        }
    }
}

/// Whether there is an entry of −0. Adding 0, which is what a selection says of the entries it leaves out, makes it +0 and
/// changes no other number; the sum of two is −0 only where both are.
pub fn has_negative_zero(x: &[f32]) -> bool {
    x.chunks(4096).any(|block| block.iter().fold(0, |count, v| count + u32::from(v.to_bits() == 1 << 31)) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_negative_zero_is_found() {
        let mut x = vec![0.0f32; 10_000];
        x[7] = f32::MIN;
        assert!(!has_negative_zero(&x) && !has_negative_zero(&[]));
        x[9_999] = -0.0;
        assert!(has_negative_zero(&x));
    }

    #[test]
    fn what_is_added_leaves_the_rest_alone() {
        let mut x = [1.0, 2.0, 3.0];
        let mut sparse = Sparse::new(&mut x, Add(2.0));
        sparse.put(1, 5.0);
        sparse.finish();
        assert_eq!(x, [1.0, 12.0, 3.0]);
        let mut sparse = Sparse::new(&mut x, Overwrite);
        sparse.put(1, 5.0);
        sparse.finish();
        assert_eq!(x, [0.0, 5.0, 0.0]);
    }
}
