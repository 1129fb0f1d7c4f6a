//! One code for several instruction sets, of which the widest that the CPU has is chosen when it runs.
//!
//! A kernel is a function of a token `simd: impl Simd`, which stands for an instruction set, and works on rows of sixteen
//! entries. [`widest!`](crate::base::simd::widest) compiles it for the target's baseline, for AVX2 and for AVX-512 (of Ice Lake
//! and later), and calls one of the three; on other architectures the baseline has its vectors (NEON) and there is one
//! path. All that a kernel calls must be inlined to be part of it, hence `#[inline(always)]`.
//!
//! **Every path gives the same bits:** a row is sixteen entries on each of them, operations are those of integers and single
//! ones of f32 and f64, which nothing reorders or fuses, and sums have sixteen lanes and a fixed tree. `tests/it/paths.rs`
//! compares the paths of the CPU that it runs on, `.ci/avx512` those of an emulated one.
//!
//! The vectors and the one unsafe call behind them are those of `fearless_simd`: no dependencies, licences as ours, bits
//! of masks and 64-bit products on AVX-512, nine seconds to compile. (`pulp` brings eight crates, and its vectors are as
//! wide as the CPU's, so that sums would differ.) Loops without it vectorise too, but not reliably: where a row meets a
//! running sum, the compiler may transpose the loop and gather.

use std::cell::Cell;

pub use fearless_simd::prelude::*;
pub use fearless_simd::{Level, Simd, dispatch, f32x16, f64x8, i32x16, mask32x16, u16x32, u32x16, u64x8};

/// Entries of a row.
pub const ROW: usize = 16;

/// An instruction set that kernels are compiled for, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// What every CPU of the target has.
    Baseline,
    /// 256 bits on x86.
    Avx2,
    /// 512 bits on x86, with what Ice Lake added.
    Avx512,
}

thread_local! {
    static MOST: Cell<Path> = const { Cell::new(Path::Avx512) };
}

/// The paths that this CPU has, the narrowest first.
pub fn paths() -> Vec<Path> {
    let has = |path| narrowed(path, || Path::of(level())) == path;
    [Path::Baseline, Path::Avx2, Path::Avx512].into_iter().filter(|path| has(*path)).collect()
}

/// Runs `act` with kernels on this thread on no wider path than `most`: for comparing paths and their speeds.
pub fn narrowed<R>(most: Path, act: impl FnOnce() -> R) -> R {
    let before = MOST.replace(most);
    let result = act();
    MOST.set(before);
    result
}

/// The widest path that kernels on this thread may take.
pub fn most() -> Path {
    MOST.get()
}

impl Path {
    fn of(level: Level) -> Self {
        match level {
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Level::Avx512(_) => Self::Avx512,
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Level::Avx2(_) => Self::Avx2,
            _ => Self::Baseline,
        }
    }
}

/// The instruction set of the path to take.
#[inline]
pub fn level() -> Level {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        let (level, most) = (Level::new(), MOST.get());
        match level {
            Level::Avx512(_) if most == Path::Avx512 => return level,
            _ => {}
        }
        if most >= Path::Avx2
            && let Some(simd) = level.as_avx2()
        {
            return Level::Avx2(simd);
        }
    }
    Level::baseline()
}

/// `widest!(simd => kernel(simd, ...))` evaluates the kernel on the widest path there is.
#[cfg(target_arch = "x86_64")]
#[macro_export]
#[doc(hidden)]
macro_rules! widest {
    ($simd:ident => $kernel:expr) => {{
        use $crate::base::simd::Simd as _;
        let level = $crate::base::simd::level();
        if let Some($simd) = level.as_avx512() {
            $simd.vectorize(
                #[inline(always)]
                || $kernel,
            )
        } else if let Some($simd) = level.as_avx2() {
            $simd.vectorize(
                #[inline(always)]
                || $kernel,
            )
        } else if let Some($simd) = level.as_sse2() {
            $simd.vectorize(
                #[inline(always)]
                || $kernel,
            )
        } else {
            unreachable!("every x86-64 has SSE2")
        }
    }};
}

/// `widest!(simd => kernel(simd, ...))` evaluates the kernel on the widest path there is.
#[cfg(not(target_arch = "x86_64"))]
#[macro_export]
#[doc(hidden)]
macro_rules! widest {
    ($simd:ident => $kernel:expr) => {
        $crate::base::simd::dispatch!($crate::base::simd::level(), $simd => $kernel)
    };
}
pub use widest;

/// The first sixteen entries of `x`, with zeros beyond its end.
#[inline(always)]
pub fn row<S: Simd>(simd: S, x: &[f32]) -> f32x16<S> {
    if let Some(row) = x.first_chunk::<ROW>() {
        return f32x16::load_array_ref(simd, row);
    }
    let mut padded = [0.0; ROW];
    for (p, v) in padded.iter_mut().zip(x) {
        *p = *v;
    }
    f32x16::load_array(simd, padded)
}

/// Σ of f64 in sixteen lanes, which a row is added to, and in the end a fixed tree.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<S: Simd>(f64x8<S>, f64x8<S>);

impl<S: Simd> Lanes<S> {
    /// Nothing yet.
    #[inline(always)]
    pub fn new(simd: S) -> Self {
        Self(f64x8::splat(simd, 0.0), f64x8::splat(simd, 0.0))
    }

    /// Adds a row, lane by lane.
    #[inline(always)]
    pub fn add(&mut self, row: f32x16<S>) {
        let (low, high) = row.widen();
        self.0 += low;
        self.1 += high;
    }

    /// Adds a row's squares, lane by lane.
    #[inline(always)]
    pub fn add_squares(&mut self, row: f32x16<S>) {
        let (low, high) = row.widen();
        self.0 += low * low;
        self.1 += high * high;
    }

    /// Adds the products of two rows, lane by lane.
    #[inline(always)]
    pub fn add_products(&mut self, a: f32x16<S>, b: f32x16<S>) {
        let ((a, c), (b, d)) = (a.widen(), b.widen());
        self.0 += a * b;
        self.1 += c * d;
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub fn total(self) -> f64 {
        let (mut lanes, high) = (self.0.to_array(), self.1.to_array());
        for (low, high) in lanes.iter_mut().zip(high) {
            *low += high;
        }
        let mut width = ROW / 4;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// Σ of what `pick` makes of every row, in f64. It must make zeros of zeros.
#[inline(always)]
pub fn sum<S: Simd>(simd: S, x: &[f32], pick: impl Fn(f32x16<S>) -> f32x16<S>) -> f64 {
    let mut lanes = Lanes::new(simd);
    let (rows, rest) = x.as_chunks::<ROW>();
    for x in rows {
        lanes.add(pick(f32x16::load_array_ref(simd, x)));
    }
    lanes.add(pick(row(simd, rest)));
    lanes.total()
}

/// Σ xᵢ².
#[inline(always)]
pub fn squares<S: Simd>(simd: S, x: &[f32]) -> f64 {
    let mut lanes = Lanes::new(simd);
    let (rows, rest) = x.as_chunks::<ROW>();
    for x in rows {
        lanes.add_squares(f32x16::load_array_ref(simd, x));
    }
    lanes.add_squares(row(simd, rest));
    lanes.total()
}

/// `counts`, one more where `mask` is set.
#[inline(always)]
pub fn tally<S: Simd>(simd: S, counts: u32x16<S>, mask: mask32x16<S>) -> u32x16<S> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if let Level::Avx512(_) = simd.level() {
        return mask.select(counts + 1, counts);
    }
    // A mask in a vector is −1 where it is set.
    counts - mask.to_vector().bitcast::<u32x16<S>>()
}

/// The bits of |v|: they order like the magnitudes.
#[inline(always)]
pub fn magnitudes<S: Simd>(v: f32x16<S>) -> u32x16<S> {
    v.bitcast::<u32x16<S>>() & 0x7FFF_FFFF
}

/// Entries whose marks [`marked`] gives in one word.
pub const WORD: usize = 64;

/// Calls `each(i)` for all entries that `mark` marks, in their order; of what lies beyond the end none may be marked.
#[inline(always)]
pub fn marked<S: Simd>(simd: S, x: &[f32], mark: impl Fn(f32x16<S>) -> mask32x16<S>, mut each: impl FnMut(usize)) {
    for (word, x) in x.chunks(WORD).enumerate() {
        let mut bits = 0;
        if let Some(x) = x.as_array::<WORD>() {
            for (i, x) in x.as_chunks::<ROW>().0.iter().enumerate() {
                bits |= mark(f32x16::load_array_ref(simd, x)).to_bitmask() << (i * ROW);
            }
        } else {
            for (i, rest) in x.chunks(ROW).enumerate() {
                bits |= mark(row(simd, rest)).to_bitmask() << (i * ROW);
            }
            bits &= (1 << x.len()) - 1;
        }
        while bits != 0 {
            each(word * WORD + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// A table of at most sixteen numbers, looked up a row at a time.
#[derive(Clone, Copy, Debug)]
pub struct Table<S: Simd, const LEN: usize> {
    simd: S,
    row: f32x16<S>,
    each: [f32x16<S>; LEN],
}

impl<S: Simd, const LEN: usize> Table<S, LEN> {
    /// Of these.
    #[inline(always)]
    pub fn new(simd: S, table: [f32; LEN]) -> Self {
        let mut each = [f32x16::splat(simd, 0.0); LEN];
        for (all, one) in each.iter_mut().zip(table) {
            *all = f32x16::splat(simd, one);
        }
        Self { simd, row: row(simd, &table), each }
    }

    /// `table[index]`, sixteen times; indices are below the table's length.
    #[inline(always)]
    pub fn at(&self, index: u32x16<S>) -> f32x16<S> {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let Level::Avx512(_) = self.simd.level() {
            // Bytes are what is looked up: the four of an entry lie at 4·index and behind it.
            let first = index << 2;
            let pair = first | first << 8;
            let bytes = (pair | pair << 16) + 0x0302_0100;
            return self.row.swizzle_dyn(bytes.to_bytes());
        }
        // One bit of the index after another halves what may be meant.
        if LEN > 8 {
            return Self::bit(index, 3).select(self.eight(index, 8), self.eight(index, 0));
        }
        self.eight(index, 0)
    }

    #[inline(always)]
    fn bit(index: u32x16<S>, bit: u32) -> mask32x16<S> {
        (index & (1 << bit)).simd_ne(0)
    }

    #[inline(always)]
    fn eight(&self, index: u32x16<S>, from: usize) -> f32x16<S> {
        if from + 4 < LEN {
            return Self::bit(index, 2).select(self.four(index, from + 4), self.four(index, from));
        }
        self.four(index, from)
    }

    #[inline(always)]
    fn four(&self, index: u32x16<S>, from: usize) -> f32x16<S> {
        if from + 2 < LEN {
            return Self::bit(index, 1).select(self.two(index, from + 2), self.two(index, from));
        }
        self.two(index, from)
    }

    #[inline(always)]
    fn two(&self, index: u32x16<S>, from: usize) -> f32x16<S> {
        if from + 1 < LEN {
            return Self::bit(index, 0).select(self.each[from + 1], self.each[from]);
        }
        self.each[from]
    }
}

/// max |xᵢ|, 0 for an empty vector; magnitudes order like their bits.
#[inline(always)]
pub fn max_abs<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut top = [u32x16::splat(simd, 0); 2];
    let (blocks, rest) = x.as_chunks::<{ 2 * ROW }>();
    for block in blocks {
        let (rows, _) = block.as_chunks::<ROW>();
        for i in 0..2 {
            top[i] = top[i].max(magnitudes(f32x16::load_array_ref(simd, &rows[i])));
        }
    }
    let (first, second) = rest.split_at(rest.len().min(ROW));
    top = [top[0].max(magnitudes(row(simd, first))), top[1].max(magnitudes(row(simd, second)))];
    f32::from_bits(top[0].max(top[1]).reduce_max())
}

/// (min xᵢ, max xᵢ), (∞, −∞) for an empty vector. Of zeros of both signs the one that thirty-two lanes find first.
#[inline(always)]
pub fn extremes<S: Simd>(simd: S, x: &[f32]) -> (f32, f32) {
    let mut low = [f32x16::splat(simd, f32::INFINITY); 2];
    let mut high = [f32x16::splat(simd, f32::NEG_INFINITY); 2];
    let (blocks, rest) = x.as_chunks::<{ 2 * ROW }>();
    for block in blocks {
        let (rows, _) = block.as_chunks::<ROW>();
        for i in 0..2 {
            let v = f32x16::load_array_ref(simd, &rows[i]);
            low[i] = v.simd_lt(low[i]).select(v, low[i]);
            high[i] = v.simd_gt(high[i]).select(v, high[i]);
        }
    }
    let (low, high) = (low.map(f32x16::to_array), high.map(f32x16::to_array));
    let (mut bottom, mut top) = (f32::INFINITY, f32::NEG_INFINITY);
    for v in low.as_flattened().iter().chain(rest) {
        bottom = if *v < bottom { *v } else { bottom };
    }
    for v in high.as_flattened().iter().chain(rest) {
        top = if *v > top { *v } else { top };
    }
    (bottom, top)
}

/// y ← f(y), row by row; whether all of it is finite. f must make something finite of zeros.
#[inline(always)]
fn each_finite<S: Simd>(simd: S, y: &mut [f32], f: impl Fn(f32x16<S>) -> f32x16<S>) -> bool {
    let zero = f32x16::splat(simd, 0.0);
    // Zero times what is finite is a zero, and times anything else a NaN, which stays one.
    let mut all = zero;
    let (rows, rest) = y.as_chunks_mut::<ROW>();
    for place in rows {
        let v = f(f32x16::load_array_ref(simd, place));
        v.store_array(place);
        all = v.mul_add(zero, all);
    }
    let v = f(row(simd, rest));
    rest.copy_from_slice(&v.to_array()[..rest.len()]);
    v.mul_add(zero, all).to_array() == [0.0; ROW]
}

/// y ← y/n; whether every quotient is finite.
pub fn divide_finite(y: &mut [f32], n: f32) -> bool {
    const MANTISSA: u32 = 0x007F_FFFF;
    let part = n.recip();
    // The reciprocal of a power of two is exact, so that a product, which costs less, is rounded as the quotient is.
    let exact = n.to_bits() & MANTISSA == 0 && part.is_normal();
    widest!(simd => {
        if exact { each_finite(simd, y, |v| v * part) } else { each_finite(simd, y, |v| v / n) }
    })
}

/// y ← y + c·x, row by row.
#[inline(always)]
pub fn add_scaled<S: Simd>(simd: S, y: &mut [f32], c: f32, x: &[f32]) {
    let ((y, y_rest), (x, x_rest)) = (y.as_chunks_mut::<ROW>(), x.as_chunks::<ROW>());
    for (y, x) in y.iter_mut().zip(x) {
        (f32x16::load_array_ref(simd, y) + f32x16::load_array_ref(simd, x) * c).store_array(y);
    }
    for (y, x) in y_rest.iter_mut().zip(x_rest) {
        *y += c * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_divided_has_the_quotients_bits_and_one_bad_entry_is_found_wherever_it_is() {
        let tiny = f32::from_bits(3);
        for n in [1.0, 2.0, 3.0, 4.0, 7.0, 1024.0, 0.5, 0.3, tiny, f32::MIN_POSITIVE, f32::MAX, 2f32.powi(127)] {
            for len in [0, 1, 15, 16, 17, 32, 100] {
                let given: Vec<f32> = (0..len).map(|i| (i as f32 - 40.3) * 2f32.powi(i - 90)).collect();
                let want: Vec<f32> = given.iter().map(|v| v / n).collect();
                let mut found = given.clone();
                assert_eq!(divide_finite(&mut found, n), want.iter().all(|v| v.is_finite()), "{len} by {n}");
                let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&want), "{len} by {n}");
                for at in 0..given.len() {
                    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let mut spoilt = given.clone();
                        spoilt[at] = bad;
                        assert!(!divide_finite(&mut spoilt, n), "{bad} at {at} of {len} by {n}");
                    }
                }
            }
        }
    }
}
