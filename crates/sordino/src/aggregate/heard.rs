//! The vectors of a meeting, for aggregators that cannot add them up as they come.

use super::Gathering;

/// Columns that are looked at together: as many as keep a block of a few dozen voices in the first cache.
const BLOCK: usize = 64;

/// All vectors of a meeting, one after another in one buffer that is used again.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    len: usize,
    count: usize,
    all: Vec<f32>,
    /// A block of columns, one column after another.
    columns: Vec<f32>,
}

impl Heard {
    /// Forgets what was told.
    pub fn begin(&mut self, gathering: &Gathering) {
        (self.len, self.count) = (gathering.len, 0);
        self.all.clear();
        self.all.reserve(gathering.len * gathering.voices);
    }

    /// Takes one voice's vector.
    pub fn add(&mut self, vector: &[f32]) {
        self.all.extend_from_slice(vector);
        self.count += 1;
    }

    /// How many were told.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The vectors in the order in which they were told.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.count).map(|voice| self.vector(voice))
    }

    /// The vector that was told as number `voice`, from 0.
    pub fn vector(&self, voice: usize) -> &[f32] {
        &self.all[voice * self.len..][..self.len]
    }

    /// out_j ← pick(what the voices say about entry j), which `pick` may reorder.
    pub fn by_column(&mut self, out: &mut [f32], mut pick: impl FnMut(&mut [f32]) -> f32) {
        let count = self.count;
        self.columns.resize(BLOCK * count, 0.0);
        for (at, block) in out.chunks_mut(BLOCK).enumerate() {
            let from = at * BLOCK;
            for (voice, row) in self.all.chunks_exact(self.len).enumerate() {
                for (column, v) in row[from..from + block.len()].iter().enumerate() {
                    self.columns[column * count + voice] = *v;
                }
            }
            for (o, column) in block.iter_mut().zip(self.columns.chunks_exact_mut(count.max(1))) {
                *o = pick(column);
            }
        }
    }

    /// out ← own·out + Σ sharesₖ·vₖ, added up in f64 in the order of voices; voices of share 0 are not looked at.
    ///
    /// Where the factors are at least 0 and add up to 1, nothing can overflow.
    pub fn combine(&self, own: f64, shares: &[f64], out: &mut [f32]) {
        let mut sums = [0.0f64; BLOCK];
        for (at, block) in out.chunks_mut(BLOCK).enumerate() {
            let sums = &mut sums[..block.len()];
            if own == 0.0 {
                sums.fill(0.0);
            } else {
                sums.iter_mut().zip(&*block).for_each(|(s, v)| *s = own * f64::from(*v));
            }
            for (voice, share) in shares.iter().enumerate().filter(|(_, share)| **share != 0.0) {
                let row = &self.vector(voice)[at * BLOCK..];
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += share * f64::from(*v));
            }
            block.iter_mut().zip(sums).for_each(|(v, s)| *v = *s as f32);
        }
    }
}

/// The median of a column that is not empty: of an even number of entries the mean of the two in the middle. Reorders it.
pub fn middle(column: &mut [f32]) -> f32 {
    let (half, even) = (column.len() / 2, column.len().is_multiple_of(2));
    let (below, upper, _) = column.select_nth_unstable_by(half, f32::total_cmp);
    let lower = below.iter().copied().max_by(f32::total_cmp).filter(|_| even);
    lower.map_or(*upper, |lower| (0.5 * (f64::from(lower) + f64::from(*upper))) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found_in_any_order_and_does_not_overflow() {
        assert_eq!(middle(&mut [3.0]), 3.0);
        assert_eq!(middle(&mut [9.0, -1.0, 2.0]), 2.0);
        assert_eq!(middle(&mut [9.0, -1.0, 2.0, 4.0]), 3.0);
        assert_eq!(middle(&mut [f32::MAX, f32::MAX]), f32::MAX);
    }

    #[test]
    fn columns_are_whole_where_the_last_block_is_not() {
        for len in [1, 63, 64, 65, 200] {
            let mut heard = Heard::default();
            heard.begin(&Gathering::of(len, 3));
            for voice in 0..3u8 {
                heard.add(&(0..len).map(|j| j as f32 + f32::from(voice)).collect::<Vec<_>>());
            }
            let mut out = vec![f32::NAN; len];
            heard.by_column(&mut out, middle);
            assert!(out.iter().enumerate().all(|(j, v)| *v == j as f32 + 1.0));
            heard.combine(0.5, &[0.5, 0.0, 0.0], &mut out);
            assert!(out.iter().enumerate().all(|(j, v)| *v == j as f32 + 0.5));
        }
    }
}
