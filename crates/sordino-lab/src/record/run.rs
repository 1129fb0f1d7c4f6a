//! A finished run, read back from its directory.

use std::path::Path;

use sordino::{Error, Result};

use super::{Point, RECORD, SUMMARY, Summary, read_points};
use crate::files;

/// The recipe's file in a run's directory.
pub const RECIPE: &str = "recipe.toml";

/// What a run's directory holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The name of the directory.
    pub name: String,
    /// What it came to.
    pub summary: Summary,
    /// Its record, round after round.
    pub points: Vec<Point>,
    /// Its recipe, as TOML.
    pub recipe: String,
}

impl Run {
    /// Reads the run in `directory`.
    pub fn load(directory: &Path) -> Result<Self> {
        if !directory.is_dir() {
            return Err(Error::request(format!(
                "there is no directory {}: name the directory of a run",
                directory.display()
            )));
        }
        let need = |file: &str, cure: &str| {
            let path = directory.join(file);
            if path.is_file() {
                return Ok(path);
            }
            Err(Error::data(format!("{} has no {file}: {cure}", directory.display())))
        };
        let record = need(RECORD, "is it the directory of a run?")?;
        let summary = need(SUMMARY, "the run has not ended; resume it, or wait for it")?;
        let recipe = need(RECIPE, "is it the directory of a run?")?;
        let text = files::read_text(&summary)?;
        let summary = serde_json::from_str(&text)
            .map_err(|e| Error::data(format!("{}: expected the summary of a run, but {e}", summary.display())))?;
        let name = directory.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        Ok(Self {
            name: name.unwrap_or_else(|| directory.display().to_string()),
            summary,
            points: read_points(&record)?,
            recipe: files::read_text(&recipe)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::Scratch;
    use crate::record::Journal;

    #[test]
    fn a_run_is_read_back_and_what_is_missing_is_named() {
        let scratch = Scratch::new("run");
        let directory = scratch.0.join("qsr-0");
        let says = || Run::load(&directory).unwrap_err().to_string();
        assert!(says().contains("there is no directory"));
        let mut journal = Journal::create(&directory).unwrap();
        journal.append(&Point { round: 4, step: 9, accuracy: Some(0.5), ..Point::default() }).unwrap();
        assert!(says().contains("has no summary.json: the run has not ended"));
        let summary = Summary { method: "qsr".into(), rounds: 4, ..Summary::default() };
        summary.write(&directory).unwrap();
        assert!(says().contains("has no recipe.toml"));
        fs::write(directory.join(RECIPE), "seed = 0\n").unwrap();
        let run = Run::load(&directory).unwrap();
        assert_eq!((run.name.as_str(), run.recipe.as_str()), ("qsr-0", "seed = 0\n"));
        assert_eq!((run.summary.rounds, run.points[0].step), (4, 9));
        fs::write(directory.join(SUMMARY), "{\"method\": 3}").unwrap();
        assert!(says().contains("expected the summary of a run, but"), "{}", says());
    }
}
