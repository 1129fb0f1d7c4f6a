//! `docs/methods.md`: every row with what it sends, what its paper claims and what was measured.

use std::fmt::Write as _;

use serde_json::Value;

use super::{GENERATED, cell, claims, word};

/// How claims are measured.
const HOW: &str = "\
What its paper claims is held against a small experiment: the row and its controls get the same search on a seed of its own,
then run on three others; a claim holds where every condition is true of the mean and of every seed. The experiments are
files in [crates/sordino-claims/claims](../crates/sordino-claims/claims), written before their first run; `cargo xtask claims`
measures all of them again, `sordino claims NAME` one.

";

/// The page.
pub fn page(rows: &Value, tally: &Value) -> String {
    let rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    let mut text =
        format!("{GENERATED}# Methods\n\nEvery method is a row of choices; axes it does not name are neutral.\n");
    text.push_str("`sordino run NAME --task TASK` runs one, `--set axis.key=value` changes any choice.\n\n");
    text.push_str(HOW);
    let _ = writeln!(text, "{}\n", counts(tally));
    text.push_str("| row | what it does | what is sent | source | measured |\n|---|---|---|---|---|\n");
    for row in &rows {
        let name = word(row, "name");
        let verdict = claims::of(tally, name).map_or("not measured", |claim| word(claim, "verdict"));
        let (about, sends, paper) = (cell(word(row, "about")), cell(word(row, "sends")), cell(word(row, "paper")));
        let _ = writeln!(text, "| [`{name}`](#{name}) | {about} | {sends} | {paper} | {verdict} |");
    }
    for row in rows {
        section(&mut text, row, claims::of(tally, word(row, "name")));
    }
    text
}

/// How many claims came to what.
fn counts(tally: &Value) -> String {
    let all: Vec<&Value> = tally["claims"].as_array().into_iter().flatten().collect();
    let count = |verdict: &str| all.iter().filter(|claim| claim["verdict"] == verdict).count();
    format!(
        "Of {} claims {} hold, {} do not hold and {} cannot be judged at this size.",
        all.len(),
        count("holds"),
        count("does not hold"),
        count("cannot be judged at this size")
    )
}

/// Everything about one row.
fn section(text: &mut String, row: &Value, claim: Option<&Value>) {
    let choices: Vec<String> = row["choices"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(axis, element)| format!("`{axis}={}`", element.as_str().unwrap_or_default()))
        .collect();
    let _ = writeln!(text, "\n## {}\n\n{}", word(row, "name"), choices.join(" "));
    if !word(row, "notes").is_empty() {
        let _ = writeln!(text, "\n{}", word(row, "notes"));
    }
    let Some(claim) = claim else { return };
    let _ = writeln!(text, "\n**Claim.** {} ({})", word(claim, "claim"), word(claim, "source"));
    if !word(claim, "why").is_empty() {
        let _ = writeln!(text, "\n{}", word(claim, "why"));
    }
    let _ = writeln!(text, "\n**Measured: {}** (`sordino claims {}`)\n", word(claim, "verdict"), word(row, "name"));
    for (kind, conditions) in [("premise: ", &claim["premises"]), ("", &claim["expects"])] {
        for condition in conditions.as_array().into_iter().flatten() {
            let mark = if condition["is"] == true { "yes" } else { "no" };
            let (says, means) = (word(condition, "says"), word(condition, "means"));
            let _ = writeln!(text, "- {mark}: {kind}{says}; `{means}`");
        }
    }
}
