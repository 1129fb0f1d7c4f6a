//! The report: runs compared on one page that needs nothing else, or chapters of such runs on one page.
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

/// Runs that belong together in a book of several comparisons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chapter {
    /// What it is called.
    pub title: String,
    /// What came of it, in a word or two.
    pub verdict: String,
    /// What it is about, a line each.
    pub lines: Vec<String>,
    /// The runs.
    pub runs: Vec<RunView>,
}

const FRAME: &str = include_str!("page/frame.html");
const STYLE: [&str; 2] = [include_str!("vendor/uplot/uPlot.min.css"), include_str!("page/style.css")];
const LIBRARY: [&str; 2] = [include_str!("vendor/uplot/LICENSE"), include_str!("vendor/uplot/uPlot.iife.min.js")];
const SCRIPT: [&str; 8] = [
    include_str!("page/format.js"),
    include_str!("page/chapters.js"),
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

/// Writes the page of several comparisons, of which one is shown at a time, aside and renamed.
pub fn write_book(path: &Path, title: &str, chapters: &[Chapter]) -> Result<()> {
    files::write_aside(path, book(title, chapters)?.as_bytes())
}

/// The page of several comparisons; one without runs is words alone.
pub fn book(title: &str, chapters: &[Chapter]) -> Result<String> {
    if chapters.is_empty() {
        return Err(Error::request("a book has at least one chapter, got none"));
    }
    fill(title, &plot_data::book(title, chapters))
}

/// The page that compares `runs`, in the order given.
pub fn page(title: &str, runs: &[RunView]) -> Result<String> {
    if runs.is_empty() {
        return Err(Error::request("a report compares at least one run, got none"));
    }
    fill(title, &plot_data::of(title, runs))
}

/// The frame with everything in its holes.
fn fill(title: &str, data: &serde_json::Value) -> Result<String> {
    let data =
        serde_json::to_string(data).map_err(|e| Error::data(format!("the runs cannot be written into a page: {e}")))?;
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

    #[test]
    fn a_book_holds_its_chapters_and_one_may_be_words_alone() {
        let told =
            Chapter { title: "</script>".into(), verdict: "holds".into(), lines: vec!["a".into()], runs: Vec::new() };
        let drawn = Chapter { title: "qsr".into(), runs: vec![run("qsr", 0)], ..told.clone() };
        let page = book("claims", &[told, drawn]).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("\"chapters\":[{") && page.contains("\"verdict\":\"holds\"") && !page.contains("{{"));
        assert!(book("t", &[]).unwrap_err().to_string().contains("at least one chapter"));
    }
}
