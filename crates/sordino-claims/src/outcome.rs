//! What a claim came to, as it is written and read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::judge::Verdict;

/// Claims that were measured, by row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Where: program, system, cores.
    pub environment: BTreeMap<String, String>,
    /// Wall-clock seconds of all together.
    pub seconds: f64,
    /// One after another.
    pub claims: Vec<Outcome>,
}

/// What one claim came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The named row.
    pub row: String,
    /// The claim, in a sentence.
    pub claim: String,
    /// Where it stands.
    pub source: String,
    /// How the experiment stands for the paper's.
    pub why: String,
    /// A hash of the claim's file, by which an outcome that is not of it is found.
    pub file: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What had to be true for the claim to be judged.
    pub premises: Vec<Judged>,
    /// What had to be true for it to hold.
    pub expects: Vec<Judged>,
    /// What was measured, in the order of the arms.
    pub arms: Vec<Found>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// A condition and what became of it; what is infinite or unknown is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// In words.
    pub says: String,
    /// In figures.
    pub means: String,
    /// Whether it is true of the mean and of every seed.
    pub is: bool,
}

/// What an arm was measured at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Its name in the claim.
    pub name: String,
    /// The recipe with the choices that the search made.
    pub recipe: String,
    /// The command that makes the first of its runs; empty where nothing runs.
    pub command: String,
    /// What the search found for every point: choices and figure.
    pub searched: Vec<(String, Option<f64>)>,
    /// Every figure that a condition speaks of.
    pub figures: BTreeMap<String, Values>,
}

/// A figure over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The mean.
    pub mean: Option<f64>,
    /// The standard deviation.
    pub spread: Option<f64>,
    /// Seed after seed.
    pub each: Vec<Option<f64>>,
}

impl Values {
    /// Of numbers, some of which may be infinite.
    pub fn of(each: &[f64]) -> Self {
        let some = |v: f64| Some(v).filter(|v| v.is_finite());
        Self {
            mean: some(crate::judge::mean(each)),
            spread: some(crate::judge::spread(each)),
            each: each.iter().copied().map(some).collect(),
        }
    }
}

/// A hash of a text that is the same on every machine.
pub fn hash(text: &str) -> String {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{state:016x}")
}

/// A number in four digits, or in powers of ten where that says nothing.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nothing".into() } else { "infinite".into() };
    }
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e7).contains(&size) {
        format!("{value:.2e}")
    } else if size >= 1000.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_what_is_infinite_says_so() {
        let shown = [0.0, 1.0, 0.012_345, 12.345, 123_456.7, 4.2e-7, 1e9, f64::INFINITY].map(short);
        assert_eq!(shown, ["0", "1", "0.01235", "12.35", "123457", "4.20e-7", "1.00e9", "infinite"]);
    }

    #[test]
    fn an_outcome_with_something_infinite_can_be_written_and_read() {
        let values = Values::of(&[1.0, f64::INFINITY, 2.0]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(serde_json::from_str::<Values>(&text).unwrap(), values);
        assert_eq!((values.mean, values.each[1]), (None, None));
    }
}
