//! The run's `recipe.toml`: the recipe and everything else that `--resume` needs.

use std::fmt::Write as _;
use std::path::Path;

use sordino::recipe::Recipe;
use sordino::{Error, Result};

use super::Plan;
use crate::files::{read_text, write_aside};
use crate::record::{Before, RECIPE};

/// What stands in `recipe.toml` beside the recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// What to call the run in tables and reports.
    pub label: String,
    /// The version of the program.
    pub version: String,
    /// A hash of the data and the problem.
    pub data_hash: u64,
    /// The data's file or folder, if one was given.
    pub data: Option<String>,
    /// The file of the model that training starts from, if it is not a fresh one.
    pub start: Option<String>,
    /// How many workers there were, one after another, before there were as many as now.
    pub before: Vec<Before>,
}

/// The keys of a recipe file that are not axes.
pub const KEYS: &[&str] = &[
    "label",
    "version",
    "data_hash",
    "data",
    "start",
    "workers",
    "workers_before",
    "seed",
    "steps",
    "batch_rows",
    "until_loss",
    "eval_every",
    "checkpoint_every",
];

impl Plan {
    /// The plan as `recipe.toml`.
    pub fn to_toml(&self) -> String {
        let mut text = self.recipe.to_toml();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "label = {:?}", self.header.label);
        let _ = writeln!(text, "workers = {}\nseed = {}\nsteps = {}", self.workers, self.seed, self.steps);
        if !self.header.before.is_empty() {
            let each = |b: &Before| format!("{{ workers = {}, steps = {} }}", b.workers, b.steps);
            let all: Vec<String> = self.header.before.iter().map(each).collect();
            let _ = writeln!(text, "workers_before = [{}]", all.join(", "));
        }
        let _ = writeln!(text, "batch_rows = {}\neval_every = {}", self.batch_rows, self.eval_every);
        if let Some(rounds) = self.checkpoint_every {
            let _ = writeln!(text, "checkpoint_every = {rounds}");
        }
        if let Some(loss) = self.until_loss {
            let _ = writeln!(text, "until_loss = {loss:?}");
        }
        if let Some(data) = &self.header.data {
            let _ = writeln!(text, "data = {data:?}");
        }
        if let Some(start) = &self.header.start {
            let _ = writeln!(text, "start = {start:?}");
        }
        let _ = writeln!(text, "data_hash = \"{:016x}\"\nversion = {:?}", self.header.data_hash, self.header.version);
        text
    }

    /// Reads the plan in a run's directory, to be resumed.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(RECIPE);
        if !path.is_file() {
            return Err(Error::request(format!(
                "{} has no {RECIPE}: name the directory of a run that has begun",
                directory.display()
            )));
        }
        let text = read_text(&path)?;
        Self::from_toml(&text).map_err(|e| e.within(path.display())).map(|mut plan| {
            plan.out = Some(directory.to_path_buf());
            plan.resume = true;
            plan
        })
    }

    /// The plan that [`Plan::to_toml`] wrote: the same run, bit for bit. Where it goes is not part of it.
    pub fn from_toml(text: &str) -> Result<Self> {
        let recipe = Recipe::from_toml(text, KEYS)?;
        let table: toml::Table = text.parse().map_err(|e| Error::data(format!("not a TOML recipe: {e}")))?;
        let whole = |key: &str| {
            let number = table.get(key).and_then(toml::Value::as_integer).and_then(|n| u64::try_from(n).ok());
            number.ok_or_else(|| Error::data(format!("`{key}` must be a whole number; the file was made by a run")))
        };
        let words = |key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let hash = words("data_hash").and_then(|h| u64::from_str_radix(&h, 16).ok());
        Ok(Self {
            recipe,
            workers: whole("workers")? as usize,
            seed: whole("seed")?,
            steps: whole("steps")?,
            batch_rows: whole("batch_rows")? as usize,
            until_loss: table.get("until_loss").and_then(toml::Value::as_float),
            eval_every: whole("eval_every")?,
            checkpoint_every: whole("checkpoint_every").ok(),
            out: None,
            resume: false,
            replay: None,
            header: Header {
                label: words("label").unwrap_or_default(),
                version: words("version").unwrap_or_default(),
                data_hash: hash.ok_or_else(|| Error::data("`data_hash` must be 16 hexadecimal digits"))?,
                data: words("data"),
                start: words("start"),
                before: table.get("workers_before").cloned().map_or(Ok(Vec::new()), |all| {
                    all.try_into().map_err(|e| Error::data(format!("`workers_before` cannot be read: {e}")))
                })?,
            },
            environment: std::collections::BTreeMap::new(),
            cores: 0,
        })
    }

    /// Writes `recipe.toml` into the run's directory.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        write_aside(&directory.join(RECIPE), self.to_toml().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_written_and_read_back() {
        let plan = Plan {
            recipe: Recipe::named("local-sgd").unwrap(),
            workers: 4,
            seed: 7,
            steps: 100,
            batch_rows: 32,
            until_loss: Some(0.5),
            eval_every: 5,
            checkpoint_every: None,
            out: None,
            resume: false,
            replay: None,
            header: Header {
                label: "l".into(),
                version: "1".into(),
                data_hash: 77,
                data: Some("a \"b\"".into()),
                start: Some("c".into()),
                before: vec![Before { workers: 2, steps: 30 }, Before { workers: 8, steps: 60 }],
            },
            environment: std::collections::BTreeMap::new(),
            cores: 0,
        };
        let text = plan.to_toml();
        let back = Plan::from_toml(&text).unwrap();
        assert_eq!(back.to_toml(), text);
        assert_eq!((back.header, back.until_loss, back.seed), (plan.header, plan.until_loss, plan.seed));
        assert!(Plan::from_toml("method = \"local-sgd\"").is_err());
    }
}
