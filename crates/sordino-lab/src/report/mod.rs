//! The report: runs compared on one page that needs nothing else.
//!
//! # Contract
//! [`page`] is a function of the runs: the same runs give the same bytes. The page holds its script, its style and its
//! data; a policy in its head forbids it any network. Words of recipes and environments are shown as text, never read
//! as HTML.

mod groups;
mod plot_data;

use std::collections::BTreeMap;
use std::path::Path;

use sordino::{Error, Result};

use crate::files;
use crate::record::{Point, Run, Summary};

/// A run as the report sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunView {
    /// What to call this one run.
    pub name: String,
    /// Its method, or the run's own label: runs of one that differ only in their seeds are drawn as one.
    pub method: String,
    /// Its seed.
    pub seed: u64,
    /// Its record.
    pub points: Vec<Point>,
    /// What it came to.
    pub summary: Summary,
    /// Its recipe, as TOML.
    pub recipe: String,
    /// Where it ran, by name.
    pub environment: BTreeMap<String, String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            name: run.name,
            method: match run.summary.label.as_str() {
                "" => run.summary.method.clone(),
                label => label.to_owned(),
            },
            seed: run.summary.seed,
            points: run.points,
            environment: run.summary.environment.clone(),
            summary: run.summary,
            recipe: run.recipe,
        }
    }
}

const FRAME: &str = include_str!("page/frame.html");
const STYLE: [&str; 2] = [include_str!("vendor/uplot/uPlot.min.css"), include_str!("page/style.css")];
const LIBRARY: [&str; 2] = [include_str!("vendor/uplot/LICENSE"), include_str!("vendor/uplot/uPlot.iife.min.js")];
const SCRIPT: [&str; 7] = [
    include_str!("page/format.js"),
    include_str!("page/groups.js"),
    include_str!("page/table.js"),
    include_str!("page/charts.js"),
    include_str!("page/ledger.js"),
    include_str!("page/foot.js"),
    include_str!("page/start.js"),
];

/// Writes the page that compares `runs`, aside and renamed.
pub fn write(path: &Path, title: &str, runs: &[RunView]) -> Result<()> {
    files::write_aside(path, page(title, runs)?.as_bytes())
}

/// The page that compares `runs`, in the order given.
pub fn page(title: &str, runs: &[RunView]) -> Result<String> {
    if runs.is_empty() {
        return Err(Error::request("a report compares at least one run, got none"));
    }
    let data = serde_json::to_string(&plot_data::of(title, runs))
        .map_err(|e| Error::data(format!("the runs cannot be written into a page: {e}")))?;
    let [license, library] = LIBRARY;
    let script = format!("/*\n{license}*/\n{library}\n(() => {{\n\"use strict\";\n{}\n}})();", SCRIPT.join("\n"));
    let holes: [(&str, &str); 4] = [
        ("{{title}}", &escape(title)),
        ("{{style}}", &STYLE.join("\n")),
        // No `<` at all: neither `</script` nor `<!--` can end or bend the element.
        ("{{data}}", &data.replace('<', "\\u003c")),
        ("{{script}}", &script),
    ];
    let mut page = String::new();
    let mut rest = FRAME;
    for (hole, filling) in holes {
        let (before, after) = rest.split_once(hole).ok_or_else(|| Error::data(format!("the frame lacks {hole}")))?;
        page.push_str(before);
        page.push_str(filling);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(method: &str, seed: u64) -> RunView {
        let points = (0..3).map(|round| Point { round, ..Point::default() }).collect();
        RunView {
            name: format!("{method}-{seed}"),
            method: method.into(),
            seed,
            points,
            recipe: format!("# </script><script>alert(1)</script> <!-- \nseed = {seed}\n"),
            ..RunView::default()
        }
    }

    #[test]
    fn a_page_stands_alone_and_text_cannot_leave_its_data() {
        let page = page("a < b", &[run("qsr", 0), run("qsr", 1), run("</script>", 0)]).unwrap();
        assert!(page.contains("<title>a &lt; b</title>"));
        assert!(!page.contains("alert(1)</script>") && page.contains("\\u003c/script>"));
        assert_eq!(page.matches("</script>").count(), 2, "one for the data, one for the program");
        for outside in ["src=\"http", "href=\"http", "url(http", "@import", "fetch(", "XMLHttpRequest"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'") && page.contains("Permission is hereby granted"));
        assert!(!page.contains("{{"), "every hole is filled");
    }

    #[test]
    fn the_same_runs_give_the_same_page_and_no_run_gives_none() {
        let runs = [run("qsr", 0), run("local-sgd", 0)];
        assert_eq!(page("t", &runs).unwrap(), page("t", &runs).unwrap());
        assert!(page("t", &[]).unwrap_err().to_string().contains("at least one run"));
    }
}
