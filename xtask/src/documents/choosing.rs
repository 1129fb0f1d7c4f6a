//! `docs/choosing.md`: a page whose figures come from the claims.
//!
//! In `choosing.in.md`, `{{row | arm | figure}}` stands for a mean, `{{row | arm | figure | other arm}}` for the ratio of
//! two, both in three digits, `%` before a figure makes per cent of it, and `{{row}}` stands for a verdict.

use serde_json::Value;

use super::{GENERATED, claims, word};
use crate::Failure;

const PAGE: &str = include_str!("choosing.in.md");

/// The page with every figure in its place.
pub fn page(tally: &Value) -> Result<String, Failure> {
    let (mut text, mut rest) = (GENERATED.to_owned(), PAGE);
    while let Some((before, after)) = rest.split_once("{{") {
        let (hole, after) = after.split_once("}}").ok_or("choosing.in.md: `{{` without `}}`")?;
        text.push_str(before);
        text.push_str(&figure(tally, hole)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn figure(tally: &Value, hole: &str) -> Result<String, Failure> {
    let words: Vec<&str> = hole.split('|').map(str::trim).collect();
    let claim = claims::of(tally, words[0]).ok_or(format!("choosing.in.md: no claim was measured for {}", words[0]))?;
    let of = |arm: &str, figure: &str| -> Result<f64, Failure> {
        let arms = claim["arms"].as_array().into_iter().flatten();
        let found = arms.filter(|a| a["name"] == arm).find_map(|a| a["figures"][figure]["mean"].as_f64());
        found.ok_or(format!("choosing.in.md: {hole}: no finite figure of that name"))
    };
    match words.as_slice() {
        [_] => Ok(word(claim, "verdict").to_owned()),
        [_, arm, figure] => match figure.strip_prefix('%') {
            Some(figure) => Ok(format!("{} %", claims::short(100.0 * of(arm, figure)?))),
            None => Ok(claims::short(of(arm, figure)?)),
        },
        [_, arm, figure, other] => Ok(claims::short(of(arm, figure)? / of(other, figure)?)),
        _ => Err(format!("choosing.in.md: {{{{{hole}}}}} has two to four parts")),
    }
}
