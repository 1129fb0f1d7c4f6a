//! Recipes: one choice per axis.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};
use sordino::grammar::{Element, Value};
use sordino::recipe::{self, Defaults};

use crate::errors::{raised, refused, told};

/// One choice per axis: a named row, and any choice of it changed.
///
/// An axis is a keyword, a key of its element a dotted name or an entry of a dictionary; what is chosen is written as
/// everywhere, `element(value, key=value)`.
///
/// >>> import sordino
/// >>> recipe = sordino.Recipe("qsr", compress="orq(9)", feedback="residual")
/// >>> recipe["compress"]
/// 'orq(levels=9)'
/// >>> recipe = sordino.Recipe("qsr", {"schedule.base": 8}, optim={"rate": 0.05})
/// >>> recipe["schedule.base"], recipe["optim.rate"]
/// (8.0, 0.05)
/// >>> sordino.Recipe("qsr", compress="topk(0.1)", exchange="reduce").check()
/// Traceback (most recent call last):
///     ...
/// sordino.errors.RequestError: `exchange=reduce` with `compress=topk(ratio=0.1)`: an all-reduce adds messages up on the way, and these cannot be added; use exchange=gather or exchange=star, or exchange=auto
#[pyclass(module = "sordino", eq)]
#[derive(Clone, PartialEq)]
pub struct Recipe {
    pub inner: recipe::Recipe,
}

/// What a choice looks like in Python.
#[derive(IntoPyObject)]
enum Shown {
    Number(f64),
    Text(String),
}

/// What a Python value is in the grammar.
fn value(x: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = x.py();
    if let Ok(text) = x.cast::<PyString>() {
        return told(py, Value::parse(text.to_str()?));
    }
    if x.is_none() {
        return Ok(Value::Element(Element::word("none")));
    }
    match x.extract::<f64>() {
        Ok(number) if number.is_finite() && !x.is_instance_of::<PyBool>() => Ok(Value::Number(number)),
        _ => {
            Err(refused(py, format!("a choice is a text such as 'topk(0.01)', a finite number or None, but {x} came")))
        }
    }
}

/// Chooses `name = x`: an axis, a dotted key, or a dictionary of keys.
fn choose(recipe: &mut recipe::Recipe, name: &str, x: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = x.py();
    if let Ok(keys) = x.cast::<PyDict>() {
        for (key, value) in keys {
            choose(recipe, &format!("{name}.{}", key.extract::<String>()?), &value)?;
        }
        return Ok(());
    }
    let value = value(x)?;
    let within = |e: sordino::Error| raised(py, &e.within(format!("`{name}={value}`")));
    // The axis is looked for first, so that a slip in its name is what is told.
    recipe.choice(name.split('.').next().unwrap_or_default()).map_err(|e| raised(py, &e))?;
    match (name.split_once('.'), value.clone()) {
        (Some((axis, key)), value) => recipe.set_key(axis, key, value).map_err(within),
        (None, Value::Element(element)) => recipe.choose(name, &element).map_err(within),
        (None, Value::Number(number)) => Err(refused(
            py,
            format!("`{name}` is an axis and takes an element such as 'name({number})', but the number {number} came"),
        )),
    }
}

impl Recipe {
    /// A recipe, or the row that a text names, with choices on top.
    pub fn read(row: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(recipe) = row.cast::<Self>() {
            return Ok(recipe.borrow().clone());
        }
        let text: String = row
            .extract()
            .map_err(|_| refused(row.py(), format!("a recipe is a Recipe or the name of a row, but {row} came")))?;
        Ok(Self { inner: told(row.py(), recipe::Recipe::named(&text))? })
    }
}

#[pymethods]
impl Recipe {
    /// The row `row` with choices on top.
    #[new]
    #[pyo3(signature = (row: "str" = "sync-sgd", choices: "dict[str, str | float | dict[str, str | float | None]] | None" = None, **axes: "str | float | dict[str, str | float | None]"))]
    fn new(
        py: Python<'_>,
        row: &str,
        choices: Option<&Bound<'_, PyDict>>,
        axes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut inner = if row == "custom" { recipe::Recipe::default() } else { told(py, recipe::Recipe::named(row))? };
        for (name, x) in choices.into_iter().chain(axes).flatten() {
            choose(&mut inner, &name.extract::<String>()?, &x)?;
        }
        Ok(Self { inner })
    }

    /// Reads a recipe file's text.
    ///
    /// >>> sordino.Recipe.from_toml('method = "qsr"\ncompress = "orq(9)"')["schedule"]
    /// 'qsr'
    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Self> {
        Ok(Self { inner: told(py, recipe::Recipe::from_toml(text, &[]))? })
    }

    /// The row that the choices began from, or `custom`.
    #[getter]
    fn method(&self) -> String {
        self.inner.method.clone()
    }

    /// Takes `axis=element` or `axis.key=value`, the form of the program's `--set`.
    fn set(&mut self, py: Python<'_>, assignment: &str) -> PyResult<()> {
        told(py, self.inner.set(assignment))
    }

    /// The recipe as TOML.
    fn to_toml(&self) -> String {
        self.inner.to_toml()
    }

    /// The recipe with every `auto` replaced: numbers from `rate` (the peak rate of whichever optimizer), momentum and
    /// rows of a step, choices from the other choices, and from what they cost `ranks` ranks that meet about so many
    /// `parameters`.
    ///
    /// >>> sordino.Recipe("qsr").resolve(rate=0.1)["schedule.alpha"]
    /// 0.219089
    #[pyo3(signature = (*, rate=None, momentum=0.0, batch=32, clients=100, parameters=1000, ranks=1))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn resolve(
        &self,
        py: Python<'_>,
        rate: Option<f64>,
        momentum: f64,
        batch: usize,
        clients: usize,
        parameters: usize,
        ranks: usize,
    ) -> PyResult<Self> {
        let mut inner = self.inner.clone();
        let plain = Defaults::PLAIN;
        let (sgd_rate, adam_rate) = (rate.unwrap_or(plain.sgd_rate), rate.unwrap_or(plain.adam_rate));
        let defaults = Defaults { sgd_rate, adam_rate, momentum, batch, clients, parameters, ranks, ..plain };
        told(py, inner.resolve(&defaults))?;
        Ok(Self { inner })
    }

    /// Refuses choices that make no sense together, with a reason and a cure.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        let mut resolved = self.inner.clone();
        told(py, resolved.resolve(&Defaults::PLAIN).and_then(|()| recipe::check(&resolved)))
    }

    /// The choice on an axis as it is written, or the value of a key of it: a number, a text, or None where it is not
    /// given.
    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<Option<Shown>> {
        let (axis, key) = name.split_once('.').map_or((name, None), |(axis, key)| (axis, Some(key)));
        let element = told(py, self.inner.choice(axis))?;
        Ok(match key.map(|key| element.named.get(key)) {
            None => Some(Shown::Text(element.to_string())),
            Some(None) => None,
            Some(Some(Value::Number(number))) => Some(Shown::Number(*number)),
            Some(Some(Value::Element(element))) => Some(Shown::Text(element.to_string())),
        })
    }

    /// Chooses on an axis, or the value of a key.
    fn __setitem__(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        choose(&mut self.inner, name, value)
    }

    /// Every axis with its choice.
    fn choices(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, String>> {
        recipe::AXES.iter().map(|axis| Ok((axis.name, told(py, self.inner.choice(axis.name))?.to_string()))).collect()
    }

    fn __repr__(&self) -> String {
        let row = recipe::Recipe::named(&self.inner.method).unwrap_or_default();
        let differs = |axis: &&recipe::Axis| match (self.inner.choice(axis.name), row.choice(axis.name)) {
            (Ok(mine), Ok(its)) => mine != its,
            _ => true,
        };
        let choice = |axis: &recipe::Axis| Some(format!(", {}='{}'", axis.name, self.inner.choice(axis.name).ok()?));
        let changed: String = recipe::AXES.iter().filter(differs).filter_map(choice).collect();
        format!("Recipe('{}'{changed})", self.inner.method)
    }

    /// For `copy` and `pickle`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr("from_toml")?, (slf.borrow().inner.to_toml(),)))
    }
}
