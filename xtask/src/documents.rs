//! Documents that are written from the registries: `docs/methods.md` and `docs/axes.md`.

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

fn documents() -> Result<[(&'static str, String); 2], Failure> {
    Ok([("methods.md", methods()?), ("axes.md", axes()?)])
}

fn methods() -> Result<String, Failure> {
    let rows = listing("methods")?;
    let mut text =
        format!("{GENERATED}# Methods\n\nEvery method is a row of choices; axes it does not name are neutral.\n");
    text.push_str("`sordino run NAME --task TASK` runs one, `--set axis.key=value` changes any choice.\n\n");
    text.push_str("| row | what it does | source | choices |\n|---|---|---|---|\n");
    for row in rows.as_array().into_iter().flatten() {
        let choices: Vec<String> = row["choices"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(axis, element)| format!("`{axis}={}`", element.as_str().unwrap_or_default()))
            .collect();
        let (name, about, paper) = (word(row, "name"), cell(word(row, "about")), cell(word(row, "paper")));
        let _ = writeln!(text, "| `{name}` | {about} | {paper} | {} |", cell(&choices.join(" ")));
    }
    text.push_str("\n## Notes\n\nWhat of the paper is pinned, and what is not.\n\n");
    for row in rows.as_array().into_iter().flatten().filter(|r| !word(r, "notes").is_empty()) {
        let _ = writeln!(text, "- `{}`: {}", word(row, "name"), word(row, "notes"));
    }
    Ok(text)
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
