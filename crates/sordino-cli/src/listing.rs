//! `sordino methods`, `tasks`, `explain`: what the registries say about themselves.

use serde_json::json;
use sordino::grammar::{Key, Listing};
use sordino::recipe::{AXES, NESTED, ROWS};
use sordino_tasks::tasks;

use crate::arguments::List;
use crate::{Done, request};

/// Lists the named rows.
pub fn methods(list: &List) -> Done {
    if list.json {
        let rows = ROWS
            .iter()
            .map(|r| {
                let sends = sordino_tasks::sends(r)?;
                let choices: serde_json::Map<_, _> =
                    r.choices.iter().map(|(a, e)| ((*a).to_owned(), json!(e))).collect();
                Ok(json!({
                    "name": r.name, "about": r.about, "paper": r.paper, "sends": sends, "choices": choices, "notes": r.notes
                }))
            })
            .collect::<sordino::Result<Vec<_>>>()
            .map_err(request)?;
        say!("{:#}", json!(rows));
        return Ok(());
    }
    for row in ROWS {
        say!("{:<16} {}", row.name, row.about);
    }
    say!("\n`sordino explain NAME` shows a method's choices; --set changes any of them.");
    Ok(())
}

/// Lists the axes with their elements; tasks have a list of their own, but belong to the JSON.
pub fn axes(list: &List) {
    if !list.json {
        let mut text = String::new();
        AXES.iter().chain(NESTED).for_each(|axis| sordino_tasks::axis(&mut text, axis));
        say!("{}", text.trim_end());
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
    say!("{}", sordino_tasks::explain(name).map_err(request)?.trim_end());
    Ok(())
}
