//! What the claims came to when they were last measured: `docs/claims.json`.

use std::fs;

use serde_json::Value;

use crate::{Failure, build, program, root, target};

/// Where it is kept.
const TALLY: &str = "docs/claims.json";

/// What was measured last.
pub fn tally() -> Result<Value, Failure> {
    let text = fs::read_to_string(root().join(TALLY)).map_err(|e| format!("{TALLY} cannot be read: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{TALLY} is no JSON: {e}"))
}

/// Measures claims, all of them unless rows are named, and keeps what they came to; the report stays in the target folder.
pub fn measure(rows: &[String]) -> Result<(), Failure> {
    build()?;
    let out = target().join("claims");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| format!("{} cannot be removed: {e}", out.display()))?;
    }
    let status = program().arg("claims").args(rows).arg("--out").arg(&out).current_dir(root()).status();
    let status = status.map_err(|e| format!("the program does not start: {e}"))?;
    if !status.success() {
        return Err("`sordino claims` failed".into());
    }
    keep(&out.join("claims.json"), !rows.is_empty())
}

/// Takes over what was measured, all of it, or some claims among those that are kept.
fn keep(measured: &std::path::Path, some: bool) -> Result<(), Failure> {
    let text = fs::read_to_string(measured).map_err(|e| format!("{} cannot be read: {e}", measured.display()))?;
    let mut new: Value = serde_json::from_str(&text).map_err(|e| format!("{} is no JSON: {e}", measured.display()))?;
    if some {
        let mut kept = tally()?;
        let fresh = new["claims"].as_array().cloned().unwrap_or_default();
        let claims = kept["claims"].as_array_mut().ok_or("docs/claims.json holds no claims")?;
        for claim in fresh {
            claims.retain(|old| old["row"] != claim["row"]);
            claims.push(claim);
        }
        claims.sort_by(|a, b| a["row"].as_str().cmp(&b["row"].as_str()));
        new = kept;
    }
    let text = serde_json::to_string_pretty(&new).map_err(|e| format!("the claims cannot be written: {e}"))?;
    let path = root().join(TALLY);
    let aside = path.with_extension("tmp");
    fs::write(&aside, text + "\n")
        .and_then(|()| fs::rename(&aside, &path))
        .map_err(|e| format!("{TALLY} cannot be written: {e}"))
}

/// The outcome of a row's claim.
pub fn of<'a>(tally: &'a Value, row: &str) -> Option<&'a Value> {
    tally["claims"].as_array()?.iter().find(|claim| claim["row"] == row)
}

/// A number in three digits.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}
