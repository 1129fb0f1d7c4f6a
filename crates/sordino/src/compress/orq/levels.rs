//! Where the levels of `orq` go: the greedy search, read off a histogram where that is as good as sorting.
//!
//! An entry lies at y = (v − centre)·scale in −31..31; the centre is 0, or the end nearest to it. Its bin is the sign and
//! the leading bits of |y| + 1: a two-thousandth of the range wide at the centre, a sixty-fourth of the magnitude far from
//! it, so that a heavy tail leaves the middle its resolution. Counts and two moments of the bins give q, the level to a
//! part of its bin, and the variance beside it; where that might depend on how a bin is filled inside, the level is sorted
//! for among the entries themselves.

use crate::base::flat;

/// Up to so many entries every level is sorted for.
const SHORT: usize = 256;
/// Bins of magnitudes: five binades of 64.
const SIDE: usize = 320;
/// Bins of both signs, and those that a masked key can name.
const BINS: usize = 2 * SIDE;
const TABLE: usize = 1024;
/// The most that the entries of a level's bin may add to the variance, each misplaced by the whole bin, beside that variance.
const SLACK: f64 = 1.0 / 32.0;
/// The fewest entries on either side of a level that is read off.
const FEW: f64 = 8.0;

/// Centre and width of every bin, in 128ths of a unit of y.
const PLACES: [(i32, i32); BINS] = {
    let mut places = [(0, 0); BINS];
    let mut m = 0;
    while m < SIDE {
        let (edge, width) = ((64 + m as i32 % 64) << (m / 64), 1 << (m / 64));
        let centre = 2 * edge + width - 129;
        places[SIDE + m] = (centre, 2 * width);
        places[SIDE - m] = (-centre, 2 * width);
        m += 1;
    }
    places
};

/// Count, Σ y and Σ y² of some entries, each at the centre of its bin.
type Moments = [f64; 3];

/// A level, its y and the moments of the entries below it. `exact`: it was sorted for, and so are those beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    value: f32,
    place: f64,
    below: Moments,
    exact: bool,
}

/// The search with its histogram: `below[k]` has the moments of all bins under `k`.
#[derive(Clone, Debug)]
pub struct Search {
    below: Box<[[i64; 3]; BINS + 1]>,
    inside: Vec<f32>,
    centre: f32,
    scale: f32,
}

impl Search {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { below: Box::new([[0; 3]; BINS + 1]), inside: Vec::new(), centre: 0.0, scale: 0.0 }
    }

    /// The levels of `x`: its ends, and log₂(S − 1) times one more between all neighbours.
    pub fn levels<const S: usize>(&mut self, x: &[f32]) -> [f32; S] {
        let (low, high) = flat::extremes(x);
        let mut levels = [Level::default(); S];
        let exact = x.len() <= SHORT || low >= high;
        if !exact {
            self.count(x, low, high);
        }
        let place = |v: f32| 128.0 * f64::from((0.5 * v - self.centre) * self.scale);
        levels[0] = Level { value: low, place: place(low), below: [0.0; 3], exact };
        levels[S - 1] = Level { value: high, place: place(high), below: self.below[BINS].map(|m| m as f64), exact };
        let mut step = S - 1;
        while step > 1 {
            for at in (0..S - 1).step_by(step) {
                let (a, b) = (levels[at], levels[at + step]);
                let read = if a.exact || b.exact { None } else { self.read(&a, &b) };
                levels[at + step / 2] = read.unwrap_or_else(|| self.sort(x, a.value, b.value));
            }
            step /= 2;
        }
        levels.map(|level| level.value)
    }

    /// Fills the histogram. Halves of entries, because their differences cannot overflow.
    fn count(&mut self, x: &[f32], low: f32, high: f32) {
        let centre = 0.5 * 0f32.clamp(low, high);
        let scale = (30.95 / (0.5 * high - centre).max(centre - 0.5 * low)).min(f32::MAX);
        (self.centre, self.scale) = (centre, scale);
        let mut counts = [[0u32; TABLE]; 2];
        let mut keys = [0u32; 512];
        for block in x.chunks(keys.len()) {
            for (key, &v) in keys.iter_mut().zip(block) {
                let y = (0.5 * v - centre) * scale;
                let magnitude = ((y.abs() + 129.0 / 128.0).to_bits() >> 17) as i32 - (127 << 6);
                let sign = y.to_bits() as i32 >> 31;
                *key = ((magnitude ^ sign) - sign + SIDE as i32) as u32;
            }
            // Two tables, so that a run of equal keys waits half as long for its own sums.
            let (pairs, last) = keys[..block.len()].as_chunks::<2>();
            for [even, odd] in pairs {
                counts[0][*even as usize % TABLE] += 1;
                counts[1][*odd as usize % TABLE] += 1;
            }
            if let [key] = last {
                counts[0][*key as usize % TABLE] += 1;
            }
        }
        let mut sum = [0i64; 3];
        let [even, odd] = &counts;
        for (((below, (place, _)), even), odd) in self.below.iter_mut().zip(&PLACES).zip(even).zip(odd) {
            *below = sum;
            let (count, place) = (i64::from(even + odd), i64::from(*place));
            sum[0] += count;
            sum[1] += count * place;
            sum[2] += count * place * place;
        }
        self.below[BINS] = sum;
    }

    /// mid(a, b) of the histogram, unless too much depends on where in its bin the level lies.
    fn read(&self, a: &Level, b: &Level) -> Option<Level> {
        let gap = b.place - a.place;
        let [n, sum, _] = minus(b.below, a.below);
        let above = (sum - a.place * n) / gap;
        if above.min(n - above) < FEW {
            return None;
        }
        let rank = b.below[0] - above;
        let bin = self.below.partition_point(|below| below[0] as f64 <= rank).checked_sub(1)?;
        let (centre, width) = PLACES.get(bin).map(|(centre, width)| (f64::from(*centre), f64::from(*width)))?;
        let count = (self.below[bin + 1][0] - self.below[bin][0]) as f64;
        let part = rank - self.below[bin][0] as f64;
        let place = centre + width * (part / count - 0.5);
        let inside = [part, part * centre, part * centre * centre];
        let below = [0, 1, 2].map(|i| self.below[bin][i] as f64 + inside[i]);
        let left = variance(a.place, place, minus(below, a.below));
        let right = variance(place, b.place, minus(b.below, below));
        let sure = a.place < place && place < b.place && count * gap * width <= SLACK * (left + right);
        let value = 2.0 * (place as f32 * (1.0 / 128.0) / self.scale + self.centre);
        sure.then_some(Level { value: value.clamp(a.value, b.value), place, below, exact: false })
    }

    /// mid(a, b) of the step. Entries at an end count for neither side.
    fn sort(&mut self, x: &[f32], a: f32, b: f32) -> Level {
        if a >= b {
            return Level { value: a, exact: true, ..Level::default() };
        }
        self.inside.resize(x.len(), 0.0);
        let mut n = 0;
        for &v in x {
            self.inside[n] = v;
            n += usize::from(a < v) & usize::from(v < b);
        }
        let inside = &mut self.inside[..n];
        let (from, to) = (f64::from(a), f64::from(b));
        let q = (flat::sum(inside) - n as f64 * from) / (to - from);
        let rank = ((n as f64 - q).floor() as usize).min(n.saturating_sub(1));
        let value = if n == 0 { b } else { *inside.select_nth_unstable_by(rank, f32::total_cmp).1 };
        Level { value, exact: true, ..Level::default() }
    }
}

fn minus(a: Moments, b: Moments) -> Moments {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Σ (b − y)(y − a).
fn variance(a: f64, b: f64, [n, sum, squares]: Moments) -> f64 {
    (a + b) * sum - squares - a * b * n
}
