//! Documents that are written from the registries and from what the claims came to: `docs/methods.md`,
//! `docs/choosing.md` and `docs/axes.md`.

mod choosing;
pub mod claims;
mod methods;

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::{Failure, build, program, root};

const GENERATED: &str = "<!-- Written by `cargo xtask gen` from the registries; do not edit. -->\n\n";

/// Writes the documents.
pub fn write() -> Result<(), Failure> {
    build()?;
    for (name, text) in documents()? {
        let path = root().join("docs").join(name);
        let aside = path.with_extension("tmp");
        let done = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
        done.map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    }
    Ok(())
}

/// Refuses documents that are not what the registries say.
pub fn compare() -> Result<(), Failure> {
    for (name, text) in documents()? {
        let path = root().join("docs").join(name);
        if fs::read_to_string(&path).unwrap_or_default() != text {
            return Err(format!("docs/{name} is stale; run `cargo xtask gen`"));
        }
    }
    Ok(())
}

fn listing(command: &str) -> Result<Value, Failure> {
    let output = program().args([command, "--json"]).current_dir(root()).output();
    let output = output.map_err(|e| format!("the program does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("`sordino {command} --json` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("`sordino {command} --json` prints no JSON: {e}"))
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Table cells may not hold bars.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn documents() -> Result<[(&'static str, String); 3], Failure> {
    let tally = claims::tally()?;
    let rows = listing("methods")?;
    Ok([("methods.md", methods::page(&rows, &tally)), ("choosing.md", choosing::page(&tally)?), ("axes.md", axes()?)])
}

fn axes() -> Result<String, Failure> {
    let axes = listing("axes")?;
    let mut text =
        format!("{GENERATED}# Axes and their elements\n\nThe form is `element(value, key=value)` everywhere.\n");
    for axis in axes.as_array().into_iter().flatten() {
        let (name, about, neutral) = (word(axis, "name"), word(axis, "about"), word(axis, "neutral"));
        let _ = writeln!(text, "\n## {name}\n\n{about}; neutral: `{neutral}`.\n");
        for element in axis["elements"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "- `{}`: {}", word(element, "name"), word(element, "about"));
            for key in element["keys"].as_array().into_iter().flatten() {
                let (key, default, about) = (word(key, "name"), word(key, "default"), word(key, "about"));
                let _ = writeln!(text, "  - `{key}={default}`: {about}");
            }
        }
    }
    Ok(text)
}
