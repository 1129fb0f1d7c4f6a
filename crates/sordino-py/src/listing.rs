//! What the registries say about themselves.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use sordino::grammar::{Key, Listing};
use sordino::recipe::{self, AXES, NESTED, ROWS};
use sordino_tasks::tasks;

use crate::errors::told;

/// A published method: a row of choices.
#[pyclass(module = "sordino", frozen, get_all)]
#[derive(Clone)]
pub struct Method {
    /// Its name.
    name: String,
    /// What it does, in one sentence.
    about: String,
    /// Where it is from.
    paper: String,
    /// What of the paper is pinned, and what is not.
    notes: String,
    /// The row as a recipe file.
    toml: String,
}

#[pymethods]
impl Method {
    /// Its choices by axis; every other axis is neutral.
    #[getter]
    fn recipe(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, &'static str>> {
        Ok(told(py, recipe::row(&self.name))?.choices.iter().copied().collect())
    }

    fn __repr__(&self) -> String {
        format!("<{}: {}>", self.name, self.about)
    }
}

/// Every named row, in alphabetical order.
///
/// >>> import sordino
/// >>> [m.name for m in sordino.methods() if m.recipe.get("schedule") == "qsr"]
/// ['qsr']
#[pyfunction]
pub fn methods(py: Python<'_>) -> PyResult<Vec<Method>> {
    ROWS.iter()
        .map(|row| {
            Ok(Method {
                name: row.name.into(),
                about: row.about.into(),
                paper: row.paper.into(),
                notes: row.notes.into(),
                toml: told(py, recipe::Recipe::named(row.name))?.to_toml(),
            })
        })
        .collect()
}

/// What may be chosen on an axis.
#[pyclass(module = "sordino", frozen, get_all)]
#[derive(Clone)]
pub struct Choice {
    /// Its name.
    name: &'static str,
    /// What it does, in one sentence.
    about: &'static str,
    /// Its keys with their defaults, as they are written.
    keys: BTreeMap<&'static str, &'static str>,
}

/// One axis: a question that a recipe answers by one choice.
#[pyclass(module = "sordino", frozen, get_all)]
#[derive(Clone)]
pub struct Axis {
    /// Its name, which is also the keyword.
    name: &'static str,
    /// The question it answers.
    about: &'static str,
    /// The choice that changes nothing.
    neutral: &'static str,
    /// What may be chosen.
    elements: Vec<Choice>,
}

#[pymethods]
impl Axis {
    fn __repr__(&self) -> String {
        format!("<{}: {}>", self.name, self.about)
    }
}

#[pymethods]
impl Choice {
    fn __repr__(&self) -> String {
        format!("<{}: {}>", self.name, self.about)
    }
}

fn choice(listing: &Listing, common: &[Key]) -> Choice {
    let keys = listing.keys.iter().chain(common).map(|key| (key.name, key.default)).collect();
    Choice { name: listing.name, about: listing.about, keys }
}

/// Every axis with what may be chosen on it, and keys whose values are elements of their own, such as `local.estimate`.
///
/// >>> [a.neutral for a in sordino.axes() if a.name == "compress"]
/// ['dense']
/// >>> orq, = (e for a in sordino.axes() if a.name == "compress" for e in a.elements if e.name == "orq")
/// >>> orq.keys["levels"]
/// '3'
#[pyfunction]
pub fn axes() -> Vec<Axis> {
    let axis = |axis: &recipe::Axis| {
        let elements: Vec<Choice> = match axis.name {
            "task" => tasks::ENTRIES.iter().map(|entry| choice(&entry.listing, &[])).collect(),
            _ => (axis.elements)().iter().map(|listing| choice(listing, axis.common)).collect(),
        };
        Axis { name: axis.name, about: axis.about, neutral: axis.neutral, elements }
    };
    AXES.iter().chain(NESTED).map(axis).collect()
}

/// Says what a name is: a method, an axis, an element, a key such as `schedule.alpha`, a task.
///
/// >>> print(sordino.explain("schedule.alpha"))
/// schedule=power: ...
///   schedule.alpha=auto ...
#[pyfunction]
pub fn explain(py: Python<'_>, name: &str) -> PyResult<String> {
    told(py, sordino_tasks::explain(name))
}
