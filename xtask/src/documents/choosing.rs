//! `docs/choosing.md`: a page whose figures come from the claims.
//!
//! In `choosing.in.md`, `{{row | arm | figure}}` stands for a mean, `{{row | arm | figure | other arm}}` for the ratio of
//! two, both in three digits, `%` before a figure makes per cent of it, and `{{row}}` stands for a verdict.

use serde_json::Value;

use super::{GENERATED, claims, word};
use crate::Failure;

/// Characters of a line.
const WIDTH: usize = 120;

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
    Ok(wrapped(&text))
}

/// Paragraphs and items at the width of the other pages, whatever their figures have grown to.
fn wrapped(text: &str) -> String {
    let (mut out, mut words, mut indent) = (String::new(), Vec::new(), "");
    for line in text.lines().chain([""]) {
        let begins = line.is_empty() || line.starts_with(['#', '<', '-']);
        if begins && !words.is_empty() {
            lines(&mut out, &words, indent);
            words.clear();
        }
        if line.is_empty() || line.starts_with(['#', '<']) {
            out.push_str(line);
            out.push('\n');
        } else {
            if words.is_empty() {
                indent = if line.starts_with('-') { "  " } else { "" };
            }
            words.extend(line.split_whitespace());
        }
    }
    format!("{}\n", out.trim_end())
}

/// Words in lines, all but the first behind an indent.
fn lines(out: &mut String, words: &[&str], indent: &str) {
    let mut width = 0;
    for (at, word) in words.iter().enumerate() {
        let long = word.chars().count();
        if at > 0 && width + 1 + long > WIDTH {
            out.push('\n');
            out.push_str(indent);
            width = indent.len();
        } else if at > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += long;
    }
    out.push('\n');
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
