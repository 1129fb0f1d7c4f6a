//! Vowels by speaker: a table with a column for who spoke, columns of features and the vowel.

use std::path::Path;

use sordino::{Error, Result};

use super::sets::{DenseRows, DenseSet};
use super::{csv, gzip};

/// Rows that each speaker holds back for testing: two of the six times that every one of 11 vowels was spoken.
const HELD_OUT: usize = 22;

/// Vowels from a file, gzip or plain.
pub fn read(path: &Path) -> Result<DenseSet> {
    parse(&path.display().to_string(), &gzip::read(path)?)
}

/// Vowels from comma-separated values with the columns `speaker`, `f0`, `f1`, ... and `class`.
///
/// The last 22 rows of each speaker are held out; every feature is standardised by mean and deviation of the training
/// rows of all speakers. Columns of other names (`split`, `sex`) are left aside: the split of 1989, eight speakers
/// against seven others, would leave eight clients.
pub fn parse(name: &str, bytes: &[u8]) -> Result<DenseSet> {
    let table = csv::parse(name, bytes)?;
    let inside = |e: Error| e.within(name);
    let whole = |column: &str| -> Result<Vec<u32>> {
        let values = table.column(column).map_err(inside)?;
        let whole = |(at, v): (usize, f32)| {
            ((0.0..=1e6).contains(&v) && v.fract() == 0.0).then_some(v as u32).ok_or_else(|| {
                Error::data(format!("{name}: row {}: `{column}` must be a whole number from 0, {v} came", at + 1))
            })
        };
        values.into_iter().enumerate().map(whole).collect()
    };
    let (speakers, classes) = (whole("speaker")?, whole("class")?);
    let columns = (0..).map(|i| format!("f{i}")).take_while(|n| table.names.contains(n));
    let features: Vec<Vec<f32>> = columns.map(|n| table.column(&n).map_err(inside)).collect::<Result<_>>()?;
    if features.is_empty() {
        return Err(Error::data(format!("{name}: expected columns of features named f0, f1, ..., but there is no f0")));
    }
    if let Some(at) = (0..speakers.len()).find(|&row| features.iter().any(|f| !f[row].is_finite())) {
        return Err(Error::data(format!("{name}: row {}: every feature must be a finite number", at + 1)));
    }
    let mut left = std::collections::BTreeMap::<u32, usize>::new();
    for speaker in &speakers {
        *left.entry(*speaker).or_default() += 1;
    }
    if let Some((speaker, rows)) = left.iter().find(|(_, rows)| **rows <= HELD_OUT) {
        return Err(Error::data(format!(
            "{name}: speaker {speaker} has {rows} rows; {HELD_OUT} are held out, so each needs more"
        )));
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (row, speaker) in speakers.iter().enumerate() {
        let left = left.entry(*speaker).or_default();
        if *left > HELD_OUT {
            train.push(row);
        } else {
            test.push(row);
        }
        *left -= 1;
    }
    let scales: Vec<(f64, f64)> = features.iter().map(|f| scale(train.iter().map(|&row| f64::from(f[row])))).collect();
    let rows = |rows: Vec<usize>| DenseRows {
        values: rows
            .iter()
            .flat_map(|&row| {
                features.iter().zip(&scales).map(move |(f, (mean, by))| ((f64::from(f[row]) - mean) / by) as f32)
            })
            .collect(),
        labels: rows.iter().map(|&row| classes[row]).collect(),
        clients: rows.iter().map(|&row| speakers[row]).collect(),
    };
    Ok(DenseSet {
        classes: classes.iter().max().map_or(0, |top| *top as usize + 1),
        features: features.len(),
        train: rows(train),
        test: rows(test),
    })
}

/// Mean and deviation; the deviation of what never changes counts as 1.
fn scale(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let deviation = (values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt();
    (mean, if deviation > 0.0 { deviation } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(speakers: u32, rows: u32) -> String {
        let lines = (0..speakers * rows).map(|i| format!("{},{},7,{}\n", i % speakers, 2 * i, i % 3));
        format!("speaker,f0,f1,class\n{}", lines.collect::<String>())
    }

    #[test]
    fn the_last_rows_of_each_speaker_are_held_out_and_features_are_standard() {
        let set = parse("v", table(2, 30).as_bytes()).unwrap();
        assert_eq!((set.features, set.classes), (2, 3));
        assert_eq!((set.train.labels.len(), set.test.labels.len()), (16, 44));
        assert_eq!(set.train.clients, [0, 1].repeat(8));
        let column = |at: usize| set.train.values.iter().skip(at).step_by(2).map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (mean, deviation) = scale(column(0).into_iter());
        assert!(mean.abs() < 1e-6 && (deviation - 1.0).abs() < 1e-6, "{mean} {deviation}");
        assert!(column(1).iter().all(|v| *v == 0.0), "what never changes becomes 0");
        assert!(set.test.values[0] > set.train.values[30], "test rows are not part of the scale");
    }

    #[test]
    fn errors_name_the_row_and_the_column() {
        let says = |text: &str| parse("v.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(says("speaker,f0,class\n1,2,0.5\n").contains("row 1: `class` must be a whole number"));
        assert!(says("speaker,f0\n1,2\n").contains("there is no column `class`"));
        assert!(says("speaker,class\n1,2\n").contains("no f0"));
        assert!(says("speaker,f0,class\n1,inf,0\n").contains("row 1: every feature must be a finite number"));
        assert!(says(&table(2, 22)).contains("speaker 0 has 22 rows"));
    }
}
