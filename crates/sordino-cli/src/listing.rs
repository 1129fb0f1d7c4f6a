//! `sordino methods`, `tasks`, `explain`: what the registries say about themselves.

use serde_json::json;
use sordino::grammar::{Key, Listing, unknown};
use sordino::recipe::{AXES, Axis, NESTED, ROWS, Row};
use sordino_tasks::tasks;

use crate::arguments::List;
use crate::{Done, request};

/// Lists the named rows.
pub fn methods(list: &List) {
    if list.json {
        let rows: Vec<_> = ROWS
            .iter()
            .map(|r| {
                let choices: serde_json::Map<_, _> =
                    r.choices.iter().map(|(a, e)| ((*a).to_owned(), json!(e))).collect();
                json!({"name": r.name, "about": r.about, "paper": r.paper, "choices": choices, "notes": r.notes})
            })
            .collect();
        say!("{:#}", json!(rows));
        return;
    }
    for row in ROWS {
        say!("{:<16} {}", row.name, row.about);
    }
    say!("\n`sordino explain NAME` shows a method's choices; --set changes any of them.");
}

/// Lists the axes with their elements; tasks have a list of their own, but belong to the JSON.
pub fn axes(list: &List) {
    if !list.json {
        AXES.iter().chain(NESTED).for_each(axis);
        return;
    }
    let all: Vec<_> = AXES
        .iter()
        .chain(NESTED)
        .map(|axis| {
            let mut elements: Vec<_> = (axis.elements)().iter().map(|l| listing_json(l, axis.common)).collect();
            if axis.name == "task" {
                elements = tasks::ENTRIES.iter().map(|e| listing_json(&e.listing, &[])).collect();
            }
            json!({"name": axis.name, "about": axis.about, "neutral": axis.neutral, "elements": elements})
        })
        .collect();
    say!("{:#}", json!(all));
}

/// Lists the tasks.
pub fn tasks(list: &List) {
    if list.json {
        let all: Vec<_> = tasks::ENTRIES.iter().map(|e| listing_json(&e.listing, &[])).collect();
        say!("{:#}", json!(all));
        return;
    }
    for entry in tasks::ENTRIES {
        say!("{:<24} {}", entry.listing.name, entry.listing.about);
    }
}

fn listing_json(listing: &Listing, common: &[Key]) -> serde_json::Value {
    let keys: Vec<_> = listing
        .keys
        .iter()
        .chain(common)
        .map(|k| json!({"name": k.name, "default": k.default, "about": k.about}))
        .collect();
    json!({"name": listing.name, "about": listing.about, "keys": keys})
}

/// Says what a name is: a method, an axis, an element, a task.
pub fn explain(name: &str) -> Done {
    // `schedule.alpha`, the form of --set: the elements of the axis that take the key.
    if let Some((axis_name, key)) = name.split_once('.')
        && let Some(axis) = AXES.iter().find(|a| a.name == axis_name)
    {
        let mut met = false;
        for listing in (axis.elements)() {
            let takes: Vec<&Key> = listing.keys.iter().chain(axis.common).filter(|k| k.name == key).collect();
            if !takes.is_empty() {
                say!("{axis_name}={}: {}", listing.name, listing.about);
                keys(axis_name, takes.into_iter());
                met = true;
            }
        }
        if met {
            return Ok(());
        }
    }
    let mut found = false;
    for row in ROWS.iter().filter(|r| r.name == name) {
        method(row);
        found = true;
    }
    for axis in AXES.iter().chain(NESTED).filter(|a| a.name == name) {
        self::axis(axis);
        found = true;
    }
    for axis in AXES {
        if let Some((listing, common)) = axis.listing(name) {
            say!("{}={}: {}", axis.name, listing.name, listing.about);
            keys(axis.name, listing.keys.iter().chain(common));
            found = true;
        }
    }
    for nested in NESTED {
        for element in (nested.elements)().iter().filter(|element| element.name == name) {
            say!("{}={}: {}", nested.name, element.name, element.about);
            for key in element.keys {
                say!("  {:<28} {}", format!("{}({}={})", element.name, key.name, key.default), key.about);
            }
            found = true;
        }
    }
    for entry in tasks::ENTRIES.iter().filter(|e| e.listing.name == name) {
        say!("task {}: {}", entry.listing.name, entry.listing.about);
        keys("task", entry.listing.keys.iter());
        found = true;
    }
    if found {
        return Ok(());
    }
    if name.trim().is_empty() {
        return Err(request(anyhow::anyhow!("explain what? name a method, an axis, an element or a task")));
    }
    let elements: Vec<Listing> = AXES.iter().chain(NESTED).flat_map(|a| (a.elements)()).collect();
    let names = ROWS.iter().map(|r| r.name).chain(AXES.iter().map(|a| a.name));
    let names = names.chain(elements.iter().map(|l| l.name)).chain(tasks::ENTRIES.iter().map(|e| e.listing.name));
    Err(request(unknown("name", name, names)))
}

fn method(row: &Row) {
    say!("{}: {}\npaper: {}", row.name, row.about, row.paper);
    for (axis, element) in row.choices {
        say!("  {axis:<14} {element}");
    }
    if !row.notes.is_empty() {
        say!("{}", row.notes);
    }
}

fn axis(axis: &Axis) {
    say!("{}: {} (neutral: {})", axis.name, axis.about, axis.neutral);
    let elements = (axis.elements)();
    for listing in &elements {
        say!("  {:<14} {}", listing.name, listing.about);
    }
    if elements.is_empty() {
        say!("  `sordino tasks` lists them");
    }
}

fn keys<'a>(axis: &str, keys: impl Iterator<Item = &'a Key>) {
    for key in keys {
        say!("  {:<28} {}", format!("{axis}.{}={}", key.name, key.default), key.about);
    }
}
