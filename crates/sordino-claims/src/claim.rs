//! A claim's file.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::Deserialize;
use sordino_tasks::Wish;

use crate::figure::Figure;
use crate::judge::Condition;

/// The seeds from here on choose the point of the grid; those from 0 on are measured.
pub const SEARCH_SEED: u64 = 1000;

/// What a paper claims, and the experiment that is to show it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The named row.
    pub row: String,
    /// The claim, in a sentence.
    pub claim: String,
    /// Where it stands.
    pub source: String,
    /// How the experiment stands for the paper's, and what is smaller; what was tried before.
    #[serde(default)]
    pub why: String,
    /// Whether it takes a few seconds, so that the tests measure it.
    #[serde(default)]
    pub fast: bool,
    /// What all arms share.
    pub problem: Problem,
    /// The grid: choices by key with their values, and the figure that decides.
    #[serde(default)]
    search: BTreeMap<String, toml::Value>,
    /// The row, then its controls: runs.
    #[serde(default, rename = "arm")]
    pub arms: Vec<Arm>,
    /// Compressors, measured on gradients without training.
    #[serde(default, rename = "codec")]
    pub codecs: Vec<Arm>,
    /// Schedules, asked without training.
    #[serde(default, rename = "count")]
    pub counts: Vec<Arm>,
    /// What must be true for the claim to be judged at all.
    #[serde(default, rename = "premise")]
    pub premises: Vec<Condition>,
    /// What must be true for it to hold.
    #[serde(default, rename = "expect")]
    pub expects: Vec<Condition>,
}

/// The problem that all arms share, and their budget.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// The task, as an element.
    pub task: String,
    /// Workers.
    #[serde(default)]
    pub workers: Option<u64>,
    /// Local steps of each worker.
    #[serde(default)]
    pub steps: Option<u64>,
    /// Meetings.
    #[serde(default)]
    pub rounds: Option<u64>,
    /// Passes over the training rows.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Choices of all arms.
    #[serde(default)]
    pub sets: Vec<String>,
    /// How often the model is looked at, about.
    #[serde(default)]
    pub looks: Option<u64>,
    /// Seeds that are measured, from 0 on.
    #[serde(default = "three")]
    pub seeds: u64,
}

fn three() -> u64 {
    3
}

/// One method of a claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// What conditions and curves call it.
    pub name: String,
    /// A row followed by choices of its own; a compressor, where one is measured by itself.
    pub recipe: String,
    /// Whether it is given the search.
    #[serde(default = "yes")]
    pub search: bool,
    /// Another task than the problem's.
    #[serde(default)]
    pub task: Option<String>,
    /// Another number of workers than the problem's.
    #[serde(default)]
    pub workers: Option<u64>,
    /// Another number of steps than the problem's.
    #[serde(default)]
    pub steps: Option<u64>,
}

fn yes() -> bool {
    true
}

impl Claim {
    /// Reads a claim.
    ///
    /// # Errors
    /// Where the text is no claim: what is wrong, and where.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let claim: Self = toml::from_str(text)?;
        claim.check().with_context(|| format!("the claim of {}", claim.row))?;
        Ok(claim)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.problem.seeds < 3 {
            bail!("`problem.seeds` is at least 3, {} came", self.problem.seeds);
        }
        if self.expects.is_empty() {
            bail!("an [[expect]] is needed: what must be true for it to hold");
        }
        let names: Vec<&str> = self.every_arm().map(|arm| arm.name.as_str()).collect();
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            bail!("two arms are called `{}`", twice.1);
        }
        for condition in self.premises.iter().chain(&self.expects) {
            condition.check(&names)?;
        }
        if !self.search.is_empty() {
            self.by()?;
            self.grid()?;
        }
        Ok(())
    }

    /// Everything that is measured, by any means.
    pub fn every_arm(&self) -> impl Iterator<Item = &Arm> {
        self.arms.iter().chain(&self.codecs).chain(&self.counts)
    }

    /// The figure that chooses the point of the grid, the smaller the better.
    pub fn by(&self) -> anyhow::Result<Figure> {
        let by = self.search.get("by").and_then(toml::Value::as_str).unwrap_or("train_loss");
        Figure::parse(by).context("`search.by`")
    }

    /// The points of the grid, each as choices; one point without choices where there is no search.
    pub fn grid(&self) -> anyhow::Result<Vec<Vec<String>>> {
        let mut points = vec![Vec::new()];
        for (key, values) in self.search.iter().filter(|(key, _)| *key != "by") {
            let values = values.as_array().with_context(|| format!("`search.{key}` is a list of values"))?;
            let words = |value: &toml::Value| match value.as_str() {
                Some(text) => format!("{key}={text}"),
                None => format!("{key}={value}"),
            };
            let longer = |point: &Vec<String>| {
                values.iter().map(|value| [&point[..], &[words(value)]].concat()).collect::<Vec<_>>()
            };
            points = points.iter().flat_map(longer).collect();
        }
        if points.is_empty() {
            bail!("the grid of the search has no point: give every key at least one value");
        }
        Ok(points)
    }

    /// How many runs it takes.
    pub fn runs(&self) -> u64 {
        let points = self.grid().map_or(1, |grid| grid.len() as u64);
        let searched = if points > 1 { self.arms.iter().filter(|arm| arm.search).count() as u64 } else { 0 };
        points * searched + self.arms.len() as u64 * self.problem.seeds
    }

    /// What is asked for beside an arm's recipe.
    pub fn wish(&self, arm: &Arm) -> Wish {
        let problem = &self.problem;
        Wish {
            task: Some(arm.task.as_ref().unwrap_or(&problem.task).clone()),
            workers: arm.workers.or(problem.workers),
            steps: arm.steps.or(problem.steps),
            rounds: problem.rounds.filter(|_| arm.steps.is_none()),
            epochs: problem.epochs.filter(|_| arm.steps.is_none()),
            sets: problem.sets.clone(),
            ..Wish::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        row = "celgc"
        claim = "It arrives."
        source = "nowhere"
        [problem]
        task = "polynomial"
        [search]
        by = "tail(train_loss)"
        "optim.rate" = [0.1, 0.2]
        "schedule" = ["constant(2)", "constant(4)", "constant(8)"]
        [[arm]]
        name = "celgc"
        recipe = "celgc"
        [[expect]]
        says = "small"
        figure = "train_loss"
        arm = "celgc"
        at_most = 1.0
    "#;

    #[test]
    fn a_grid_is_the_product_of_its_lists() {
        let grid = Claim::parse(SMALL).unwrap().grid().unwrap();
        assert_eq!(grid.len(), 6);
        assert_eq!(grid[0], ["optim.rate=0.1", "schedule=constant(2)"]);
        assert_eq!(grid[5], ["optim.rate=0.2", "schedule=constant(8)"]);
    }

    #[test]
    fn what_is_wrong_with_a_claim_is_said() {
        let says = |from: &str, to: &str| format!("{:#}", Claim::parse(&SMALL.replace(from, to)).unwrap_err());
        assert!(says("arm = \"celgc\"", "arm = \"other\"").contains("no arm `other`"));
        assert!(says("figure = \"train_loss\"", "figure = \"beauty\"").contains("beauty"));
        assert!(says("at_most = 1.0", "").contains("at_most"));
        assert!(says("[0.1, 0.2]", "[]").contains("no point"));
        assert!(says("task = ", "seeds = 2\ntask = ").contains("at least 3"));
        assert!(says("row = ", "mood = 1\nrow = ").contains("mood"));
    }
}
