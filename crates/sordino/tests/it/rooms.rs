//! The rules of the house, read off the source: which room knows which, and what a file looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What stands above `base` and may be known by any leaf.
const GRAMMAR: &[&str] = &["base", "grammar"];

/// Which rooms a room may know, itself and `base` and `grammar` aside. A room that is not here may know nothing yet.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("aggregate", &[]),
    ("base", &[]),
    ("buffers", &[]),
    ("compress", &[]),
    ("engine", ALL_AXES),
    ("estimate", &["privacy", "workload"]),
    ("exchange", &["compress", "feedback", "aggregate", "topology", "fabric"]),
    ("fabric", &[]),
    ("feedback", &["compress"]),
    ("grammar", &[]),
    ("local", &["optim", "workload"]),
    ("optim", &[]),
    ("participation", &[]),
    ("payload", &[]),
    ("placement", &[]),
    ("privacy", &[]),
    ("recipe", ALL_AXES),
    ("schedule", &[]),
    ("staleness", &[]),
    ("testing", ALL_AXES),
    ("topology", &[]),
    ("workload", &[]),
];

/// What the engine sees: every axis. `recipe` and `testing` see the engine as well.
const ALL_AXES: &[&str] = &[
    "aggregate",
    "buffers",
    "compress",
    "estimate",
    "exchange",
    "fabric",
    "feedback",
    "local",
    "optim",
    "participation",
    "payload",
    "placement",
    "privacy",
    "schedule",
    "staleness",
    "topology",
    "workload",
];

/// Folders whose files are elements of an axis.
const AXES: &[&str] = &[
    "aggregate",
    "compress",
    "estimate",
    "exchange",
    "feedback",
    "local",
    "optim",
    "participation",
    "privacy",
    "schedule",
    "workload",
];

/// Files of those folders that are no elements but what several of them share.
const NO_LEAVES: &[&str] = &[
    "aggregate/heard.rs",
    "compress/cuts.rs",
    "compress/digits.rs",
    "compress/scope.rs",
    "compress/sink.rs",
    "exchange/chunks.rs",
    "exchange/control.rs",
    "exchange/frame.rs",
    "optim/outer.rs",
    "workload/rows.rs",
    "workload/sparse.rs",
    "workload/stage.rs",
];

const HEADINGS: &[&str] = &[
    "# What it does",
    "# The step",
    "# Contract",
    "# When it helps, when it hurts",
    "# Reference",
    "# Deviations from the paper",
];

fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder of the crate, with its path from there.
fn files(folder: &str) -> BTreeMap<String, String> {
    fn walk(at: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(at) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = crate_root().join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |p: &Path| p.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The code of a file: no comments, no unit tests.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// The first names behind every `prefix` in `code`: `crate::a::b` gives a, `crate::{a, b::{c, d}}` gives a and b.
fn names_behind(prefix: &str, code: &str) -> BTreeSet<String> {
    let identifier = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let Some(inner) = rest.strip_prefix('{') else {
            names.insert(identifier(rest));
            continue;
        };
        let (mut depth, mut part) = (1, String::new());
        for c in inner.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (c == ',' && depth == 1) {
                names.insert(identifier(part.trim()));
                part.clear();
            } else {
                part.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

/// The rooms that a file names: through the crate, and through `super` where that is the crate.
fn known(file: &str, text: &str) -> BTreeSet<String> {
    let code = code(text);
    let depth = file.matches('/').count();
    let mut names = names_behind("crate::", &code);
    let at_the_door = depth == 0 && room(file) != "lib";
    if at_the_door {
        names.extend(names_behind("super::", &code));
    }
    if depth == 1 {
        names.extend(names_behind("super::super::", &code));
    }
    // The crate's own names for two things of `base`.
    let to_room = |n: String| if n == "Error" || n == "Result" { "base".to_owned() } else { n };
    names.into_iter().map(to_room).collect()
}

/// Arrows that the rules do not have.
fn new_arrows(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut new = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| *file != "lib.rs") {
        let own = room(file);
        let known_rooms = known(file, text);
        let Some((_, may)) = MAY_KNOW.iter().find(|(name, _)| *name == own) else {
            new.push(format!("{file}: the room `{own}` is in no rule"));
            continue;
        };
        for other in known_rooms {
            let below = own != "base" && (other == "base" || own != "grammar" && GRAMMAR.contains(&other.as_str()));
            let above = match own {
                "recipe" => other == "engine",
                "testing" => other == "engine" || other == "recipe",
                _ => false,
            };
            if other != own && !below && !above && !may.contains(&other.as_str()) {
                new.push(format!("{file} names {other}"));
            }
        }
    }
    new
}

fn one(file: &str, text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(file.to_owned(), text.to_owned())])
}

#[test]
fn arrows_point_down() {
    let files = files("src");
    assert!(files.len() > 50 && files.contains_key("engine/round.rs"), "the sources are where they were");
    assert_eq!(new_arrows(&files), Vec::<String>::new());
}

#[test]
fn a_new_arrow_is_noticed_however_it_is_written() {
    for (file, text) in [
        ("compress/topk.rs", "use crate::feedback::Residual;"),
        ("compress/topk.rs", "use crate::{\n    base::{Error, Result},\n    optim,\n};"),
        ("optim/adam.rs", "fn f() { crate::workload::g() }"),
        ("optim/adam.rs", "use super::super::schedule::Facts;"),
        ("base/flat.rs", "use crate::grammar::Key;"),
        ("grammar.rs", "use crate::engine::Worker;"),
        ("payload.rs", "use super::exchange;"),
        ("exchange/star.rs", "use crate::optim::Chain;"),
        ("engine/worker.rs", "use crate::recipe::Recipe;"),
        ("recipe/check.rs", "use crate::testing::Trial;"),
        ("gossip/mod.rs", ""),
    ] {
        assert_eq!(new_arrows(&one(file, text)).len(), 1, "{file}: {text}");
    }
    for (file, text) in [
        ("compress/topk.rs", "use crate::base::Error;\nuse crate::Result;\n// use crate::optim::Adam;"),
        ("feedback/residual.rs", "use crate::compress::Class;"),
        ("compress/topk.rs", "#[cfg(test)]\nmod tests {\n    use crate::exchange::Star;\n}"),
        ("exchange/star.rs", "use crate::{feedback::Feedback, grammar::{Element, Entry}};"),
    ] {
        assert_eq!(new_arrows(&one(file, text)), Vec::<String>::new());
    }
}

#[test]
fn an_element_does_not_know_another_element_of_its_axis() {
    let files = files("src");
    for (file, text) in files.iter().filter(|(f, _)| is_leaf(f)) {
        let folder = room(file);
        for name in names_behind("super::", &code(text)) {
            let sibling = format!("{folder}/{name}.rs");
            assert!(!is_leaf(&sibling) || !files.contains_key(&sibling), "{file} imports {sibling}");
        }
    }
}

#[test]
fn only_recipe_builds() {
    for (file, text) in files("src") {
        let own = room(&file);
        if own == "recipe" || own == "testing" {
            continue;
        }
        for axis in ALL_AXES.iter().filter(|a| **a != own) {
            assert!(!code(&text).contains(&format!("{axis}::build")), "{file} builds an element of {axis}");
        }
    }
}

#[test]
fn base_is_a_closed_list_of_six() {
    let names: Vec<String> = files("src").into_keys().filter(|f| room(f) == "base").collect();
    let expected = ["error", "flat", "ledger", "mod", "rng", "simd", "wire"].map(|n| format!("base/{n}.rs"));
    assert_eq!(names, expected);
}

#[test]
fn no_file_is_long_and_none_is_a_drawer() {
    let drawers = ["utils", "util", "common", "helpers", "helper", "misc", "types", "core", "manager"];
    for folder in ["src", "tests", "benches", "examples"] {
        for (file, text) in files(folder) {
            // A table of named rows is as long as there are rows.
            let table = file == "recipe/named.rs";
            assert!(table || text.lines().count() <= 600, "{folder}/{file} has {} lines", text.lines().count());
            for part in file.trim_end_matches(".rs").split('/') {
                assert!(!drawers.contains(&part), "{folder}/{file} is a drawer");
            }
        }
    }
}

/// A file of an axis's folder is an element; what lies deeper belongs to the element it is named after.
fn is_leaf(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap();
    AXES.contains(&room(file))
        && file.matches('/').count() == 1
        && name != "mod.rs"
        && name != "tests.rs"
        && !NO_LEAVES.contains(&file)
}

/// The headings of a file's own documentation, in order.
fn headings(text: &str) -> Vec<&str> {
    let doc = text.lines().take_while(|l| l.starts_with("//!")).filter_map(|l| l.strip_prefix("//! "));
    doc.filter(|l| l.starts_with("# ")).collect()
}

#[test]
fn every_element_has_the_six_headings_in_their_order() {
    let files = files("src");
    let leaves: Vec<_> = files.iter().filter(|(f, _)| is_leaf(f)).collect();
    assert!(leaves.len() > 30);
    for (file, text) in leaves {
        assert_eq!(headings(text), HEADINGS, "{file}");
    }
    for exempt in NO_LEAVES {
        assert!(files.contains_key(*exempt), "{exempt} is gone: take it off the list");
    }
    assert_ne!(headings("//! Top-k.\n//!\n//! # The step\n//! # What it does\n"), HEADINGS);
}

#[test]
fn every_file_says_what_it_is() {
    for (file, text) in files("src") {
        let tests = file.ends_with("/tests.rs");
        assert!(tests || text.starts_with("//! "), "{file} has no first line of documentation");
    }
}

#[test]
fn threads_files_clocks_and_the_environment_stay_in_their_place() {
    for (file, text) in files("src") {
        let code = code(&text);
        let tests = file.ends_with("tests.rs");
        for word in ["std::thread", "std::sync::mpsc", "std::time"] {
            assert!(file == "fabric/threads.rs" || tests || !code.contains(word), "{file} uses {word}");
        }
        for word in ["std::fs", "std::net", "std::env", "std::process", "println!", "eprintln!", "unsafe "] {
            assert!(!code.contains(word), "{file} uses {word}");
        }
    }
}
