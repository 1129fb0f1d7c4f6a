//! What the registries say about themselves.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use sordino::recipe::{self, ROWS};

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
