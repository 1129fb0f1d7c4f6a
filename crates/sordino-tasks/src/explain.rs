//! What a name is: a method, an axis, an element of an axis, a key, a task, as its registry says.

use std::fmt::Write as _;

use sordino::grammar::{Key, Listing, unknown};
use sordino::recipe::{AXES, Axis, NESTED, ROWS, Row};
use sordino::{Error, Result};

use crate::{sends, tasks};

/// Says what a name is, in lines of text.
pub fn explain(name: &str) -> Result<String> {
    let mut text = String::new();
    // `schedule.alpha`, the form of --set: the elements of the axis that take the key.
    if let Some((axis_name, key)) = name.split_once('.')
        && let Some(axis) = AXES.iter().find(|a| a.name == axis_name)
    {
        for listing in (axis.elements)() {
            let takes: Vec<&Key> = listing.keys.iter().chain(axis.common).filter(|k| k.name == key).collect();
            if !takes.is_empty() {
                line(&mut text, format_args!("{axis_name}={}: {}", listing.name, listing.about));
                keys(&mut text, axis_name, takes.into_iter());
            }
        }
        if !text.is_empty() {
            return Ok(text);
        }
    }
    for row in ROWS.iter().filter(|r| r.name == name) {
        method(&mut text, row)?;
    }
    for found in AXES.iter().chain(NESTED).filter(|a| a.name == name) {
        axis(&mut text, found);
    }
    for axis in AXES {
        if let Some((listing, common)) = axis.listing(name) {
            line(&mut text, format_args!("{}={}: {}", axis.name, listing.name, listing.about));
            keys(&mut text, axis.name, listing.keys.iter().chain(common));
        }
    }
    for nested in NESTED {
        for element in (nested.elements)().iter().filter(|element| element.name == name) {
            line(&mut text, format_args!("{}={}: {}", nested.name, element.name, element.about));
            for key in element.keys {
                let written = format!("{}({}={})", element.name, key.name, key.default);
                line(&mut text, format_args!("  {written:<28} {}", key.about));
            }
        }
    }
    for entry in tasks::ENTRIES.iter().filter(|e| e.listing.name == name) {
        line(&mut text, format_args!("task {}: {}", entry.listing.name, entry.listing.about));
        keys(&mut text, "task", entry.listing.keys.iter());
    }
    if !text.is_empty() {
        return Ok(text);
    }
    if name.trim().is_empty() {
        return Err(Error::request("explain what? name a method, an axis, an element or a task"));
    }
    let elements: Vec<Listing> = AXES.iter().chain(NESTED).flat_map(|a| (a.elements)()).collect();
    let names = ROWS.iter().map(|r| r.name).chain(AXES.iter().map(|a| a.name));
    let names = names.chain(elements.iter().map(|l| l.name)).chain(tasks::ENTRIES.iter().map(|e| e.listing.name));
    Err(unknown("name", name, names))
}

/// An axis with what may be chosen on it, in lines of text.
pub fn axis(text: &mut String, axis: &Axis) {
    line(text, format_args!("{}: {} (neutral: {})", axis.name, axis.about, axis.neutral));
    let elements = (axis.elements)();
    for listing in &elements {
        line(text, format_args!("  {:<14} {}", listing.name, listing.about));
    }
    if elements.is_empty() {
        line(text, format_args!("  `sordino tasks` lists them"));
    }
}

fn method(text: &mut String, row: &Row) -> Result<()> {
    line(text, format_args!("{}: {}\npaper: {}\nsends: {}", row.name, row.about, row.paper, sends(row)?));
    for (axis, element) in row.choices {
        line(text, format_args!("  {axis:<14} {element}"));
    }
    if !row.notes.is_empty() {
        line(text, format_args!("{}", row.notes));
    }
    line(text, format_args!("`sordino claims {}` holds it against its paper", row.name));
    Ok(())
}

fn keys<'a>(text: &mut String, axis: &str, keys: impl Iterator<Item = &'a Key>) {
    for key in keys {
        let written = format!("{axis}.{}={}", key.name, key.default);
        line(text, format_args!("  {written:<28} {}", key.about));
    }
}

fn line(text: &mut String, words: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{words}");
}
