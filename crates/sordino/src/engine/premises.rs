//! What all ranks must have in common: compared once, before the first word of training.

use crate::base::{Error, Layout, Reader, Result, Writer};
use crate::exchange::{decree, report};
use crate::fabric::Port;

/// Names of what is compared, in the order of the numbers.
const NAMES: [&str; 5] = ["recipe", "seed", "number of steps", "model", "round"];

/// Hashes and numbers that must be the same on every rank.
///
/// A frame shows ranks that speak at different times or about vectors of different lengths. Ranks with another rate,
/// another seed or another code of the same length would train apart in silence, so they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Premises([u64; 4]);

impl Premises {
    /// Of a recipe's fingerprint, a seed, a number of steps and a model.
    pub fn new(recipe: u64, seed: u64, steps: Option<u64>, layout: &Layout) -> Self {
        Self([recipe, seed, steps.unwrap_or(u64::MAX), fingerprint(&format!("{layout:?}"))])
    }

    /// Compares with every other rank: a collective call, counted as control.
    pub fn compare(self, port: &mut dyn Port, round: u64) -> Result<()> {
        if port.size() == 1 {
            return Ok(());
        }
        let [recipe, seed, steps, model] = self.0;
        let mine = [recipe, seed, steps, model, round];
        let mut words = Writer::new();
        for number in mine {
            words.u64(number);
        }
        let mut stranger = (0, 0);
        for (rank, theirs) in report(port, words.bytes())?.iter().enumerate().skip(1) {
            let mut theirs = Reader::new(theirs);
            for (what, number) in mine.iter().enumerate() {
                if theirs.u64()? != *number && stranger.0 == 0 {
                    stranger = (rank as u64, what as u64);
                }
            }
            theirs.done()?;
        }
        let mut verdict = Writer::new();
        verdict.varint(stranger.0);
        verdict.varint(stranger.1);
        let verdict = decree(port, verdict.bytes())?;
        let mut verdict = Reader::new(&verdict);
        let (rank, what) = (verdict.varint()?, verdict.varint()?);
        if rank == 0 {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "rank {rank} has another {} than rank 0: all ranks must run the same recipe from the same checkpoint",
            NAMES.get(what as usize).unwrap_or(&"premise")
        )))
    }
}

/// A hash of text.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3))
}
