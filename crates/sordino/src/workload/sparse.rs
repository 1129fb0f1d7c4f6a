//! Sparse rows with labels, and a seeded maker of them: what linear problems share.

use crate::base::{Error, Result, Stream, Use};

/// Sparse rows with a label each, in compressed form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRows {
    /// Row r lies at `offsets[r]..offsets[r + 1]`.
    pub offsets: Vec<usize>,
    /// Column of every entry, from 0.
    pub columns: Vec<u32>,
    /// Value of every entry.
    pub values: Vec<f32>,
    /// One label a row: −1 or +1, or any number where a problem takes numbers.
    pub labels: Vec<f32>,
}

/// One row with its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example<'a> {
    /// Columns of its entries.
    pub columns: &'a [u32],
    /// Their values.
    pub values: &'a [f32],
    /// The label.
    pub label: f32,
}

impl Example<'_> {
    /// a·x, in f64 in the order of the entries.
    pub fn dot(&self, x: &[f32]) -> f64 {
        self.columns.iter().zip(self.values).map(|(c, v)| f64::from(*v) * f64::from(x[*c as usize])).sum()
    }

    /// ‖a‖².
    pub fn squared_norm(&self) -> f64 {
        self.values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()
    }

    /// Adds `scale` times the row to `sum`.
    pub fn add_to(&self, sum: &mut [f64], scale: f64) {
        for (c, v) in self.columns.iter().zip(self.values) {
            sum[*c as usize] += scale * f64::from(*v);
        }
    }
}

impl SparseRows {
    /// Checks the form: offsets ascend to the number of entries, columns are below `features`, numbers are finite.
    pub fn check(&self, features: usize) -> Result<()> {
        let whole = self.offsets.first() == Some(&0) && self.offsets.last() == Some(&self.columns.len());
        let ascending = self.offsets.windows(2).all(|w| w[0] <= w[1]);
        let fits = self.columns.len() == self.values.len() && self.offsets.len() == self.labels.len() + 1;
        if !(whole && ascending && fits) {
            return Err(Error::data("sparse rows do not fit together: offsets, columns, values and labels disagree"));
        }
        if let Some(c) = self.columns.iter().find(|c| **c as usize >= features) {
            return Err(Error::data(format!("a row has column {c}, but there are {features} features")));
        }
        match self.values.iter().chain(&self.labels).find(|v| !v.is_finite()) {
            Some(v) => Err(Error::data(format!("a row or its label has {v}, expected finite numbers"))),
            None => Ok(()),
        }
    }

    /// Checks that labels are ±1.
    pub fn check_signs(&self) -> Result<()> {
        match self.labels.iter().find(|y| y.abs() != 1.0) {
            Some(y) => Err(Error::data(format!("a label is {y}; logistic regression takes −1 and +1 (or 0 and 1)"))),
            None => Ok(()),
        }
    }

    /// Takes off the rows from `at` on.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let entries = self.offsets[at];
        let offsets = self.offsets[at..].iter().map(|offset| offset - entries).collect();
        self.offsets.truncate(at + 1);
        Self {
            offsets,
            columns: self.columns.split_off(entries),
            values: self.values.split_off(entries),
            labels: self.labels.split_off(at),
        }
    }

    /// Row `row` with its label.
    pub fn example(&self, row: usize) -> Example<'_> {
        let range = self.offsets[row]..self.offsets[row + 1];
        Example { columns: &self.columns[range.clone()], values: &self.values[range], label: self.labels[row] }
    }
}

/// How sparse rows are made from a seed.
///
/// Every row has `nonzeros` distinct columns, drawn evenly from all features, with values that are uniform around 0 and
/// scaled to ‖a‖ = 1. A quarter of the features has a weight, the others have none; a label is what the weights make of
/// its row, plus noise of so much of their standard deviation, or the sign of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// How many rows.
    pub rows: usize,
    /// How many features.
    pub features: usize,
    /// Entries of a row, at most `features`.
    pub nonzeros: usize,
    /// Standard deviation of the noise in labels, relative to that of what the weights explain.
    pub noise: f64,
    /// Whether labels are signs, or numbers.
    pub signs: bool,
    /// What everything is drawn from.
    pub seed: u64,
}

/// The most entries of a row that are searched one by one.
const SEARCHED: usize = 64;
/// The share of features that have a weight.
const WEIGHED: f32 = 0.25;

impl Made {
    /// The rows.
    pub fn make(&self) -> Result<SparseRows> {
        let Self { rows, features, nonzeros, .. } = *self;
        if nonzeros == 0 || nonzeros > features || u32::try_from(features).is_err() {
            return Err(Error::request(format!(
                "a row takes 1 to {features} entries of {features} features, {nonzeros} came; set nonzeros to fewer, or \
                 features to more (4 294 967 295 at the most)"
            )));
        }
        let mut plane = Stream::new(self.seed, Use::Problem, 0, 0);
        // Sums of rows of length 1 with such weights have a standard deviation of 1.
        let size = 1.0 / WEIGHED.sqrt();
        let mut weight = || if plane.uniform() < WEIGHED { size * plane.normal() } else { 0.0 };
        let weights: Vec<f32> = (0..features).map(|_| weight()).collect();
        let entries = rows.checked_mul(nonzeros).ok_or_else(|| Error::request("so many entries cannot be counted"))?;
        let mut made = SparseRows {
            offsets: (0..=rows).map(|row| row * nonzeros).collect(),
            columns: Vec::with_capacity(entries),
            values: Vec::with_capacity(entries),
            labels: Vec::with_capacity(rows),
        };
        let mut stream = Stream::new(self.seed, Use::Problem, 1, 0);
        let mut taken = vec![false; if nonzeros > SEARCHED { features } else { 0 }];
        for _ in 0..rows {
            let from = made.columns.len();
            columns(&mut stream, features, nonzeros, &mut taken, &mut made.columns);
            made.values.extend((0..nonzeros).map(|_| 2.0 * stream.uniform() - 1.0));
            let values = &mut made.values[from..];
            let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
            for v in &mut *values {
                // A row of zeros would have no length to scale.
                *v = if norm > 0.0 { (f64::from(*v) / norm) as f32 } else { (1.0 / (nonzeros as f64).sqrt()) as f32 };
            }
            let row = made.columns[from..].iter().zip(&*values);
            let score: f64 = row.map(|(c, v)| f64::from(*v) * f64::from(weights[*c as usize])).sum();
            let score = score + self.noise * f64::from(stream.normal());
            made.labels.push(match self.signs {
                true if score > 0.0 => 1.0,
                true => -1.0,
                false => score as f32,
            });
        }
        Ok(made)
    }
}

/// Appends `count` distinct columns of `features`, ascending, by Floyd's draw: one number an entry, however many are
/// taken. `taken` is room for all features where a row is too long to be searched, else empty.
fn columns(stream: &mut Stream, features: usize, count: usize, taken: &mut [bool], all: &mut Vec<u32>) {
    let from = all.len();
    for last in features - count..features {
        let column = stream.below(last as u64 + 1) as usize;
        let again = if taken.is_empty() { all[from..].contains(&(column as u32)) } else { taken[column] };
        let column = if again { last } else { column };
        if let Some(mark) = taken.get_mut(column) {
            *mark = true;
        }
        all.push(column as u32);
    }
    all[from..].sort_unstable();
    if !taken.is_empty() {
        all[from..].iter().for_each(|c| taken[*c as usize] = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Made = Made { rows: 400, features: 100, nonzeros: 7, noise: 0.1, signs: true, seed: 3 };

    #[test]
    fn made_rows_are_of_length_one_with_distinct_ascending_columns() {
        for nonzeros in [1, 7, 64, 65, 100] {
            let rows = Made { nonzeros, ..MADE }.make().unwrap();
            rows.check(100).unwrap();
            rows.check_signs().unwrap();
            for row in 0..400 {
                let row = rows.example(row);
                assert_eq!(row.columns.len(), nonzeros);
                assert!(row.columns.windows(2).all(|w| w[0] < w[1]));
                assert!((row.squared_norm() - 1.0).abs() < 1e-6);
            }
        }
        assert!(Made { nonzeros: 101, ..MADE }.make().is_err() && Made { nonzeros: 0, ..MADE }.make().is_err());
    }

    #[test]
    fn every_column_comes_as_often_as_any_other() {
        // 40 of 100 columns in 4000 rows: 1600 ± 31 times each; five deviations for the extremes of a hundred.
        for (nonzeros, expected) in [(70, 2800.0f64), (40, 1600.0), (7, 280.0)] {
            let rows = Made { rows: 4000, nonzeros, ..MADE }.make().unwrap();
            let mut counts = [0.0f64; 100];
            rows.columns.iter().for_each(|c| counts[*c as usize] += 1.0);
            let deviation = (expected * (1.0 - expected / 4000.0)).sqrt();
            assert!(counts.iter().all(|c| (c - expected).abs() < 5.0 * deviation), "{nonzeros}: {counts:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_rows_and_labels_follow_the_weights() {
        assert_eq!(MADE.make().unwrap(), MADE.make().unwrap());
        assert_ne!(MADE.make().unwrap(), Made { seed: 4, ..MADE }.make().unwrap());
        let deviation = |noise| {
            let labels = Made { rows: 4000, signs: false, noise, ..MADE }.make().unwrap().labels;
            (labels.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>() / 4000.0).sqrt()
        };
        // The weights of one plane of 25 or so are not quite of deviation 1.
        assert!((deviation(0.0) - 1.0).abs() < 0.5, "{}", deviation(0.0));
        assert!((deviation(3.0) - 3.2).abs() < 0.5, "{}", deviation(3.0));
    }

    #[test]
    fn rows_that_are_split_off_are_the_last_ones() {
        let whole = MADE.make().unwrap();
        let mut first = whole.clone();
        let last = first.split_off(300);
        first.check(100).unwrap();
        last.check(100).unwrap();
        let same =
            |row: usize| if row < 300 { first.example(row) } else { last.example(row - 300) } == whole.example(row);
        assert!((0..400).all(same) && first.labels.len() == 300 && last.labels.len() == 100);
    }

    #[test]
    fn malformed_rows_are_refused() {
        let good = Made { rows: 3, features: 4, nonzeros: 2, ..MADE }.make().unwrap();
        good.check(4).unwrap();
        let spoilt = |spoil: &dyn Fn(&mut SparseRows)| {
            let mut rows = good.clone();
            spoil(&mut rows);
            rows.check(4).unwrap_err().to_string()
        };
        assert!(spoilt(&|r| r.columns[1] = 4).contains("column 4"));
        assert!(spoilt(&|r| r.labels[0] = f32::NAN).contains("NaN"));
        assert!(spoilt(&|r| r.values[0] = f32::INFINITY).contains("inf"));
        assert!(spoilt(&|r| r.offsets[1] = 5).contains("fit together"));
        let mut numbers = good;
        numbers.labels[0] = 3.0;
        assert!(numbers.check(4).is_ok() && numbers.check_signs().is_err());
    }
}
