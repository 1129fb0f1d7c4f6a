//! Whole runs on the library's own tasks, every worker a thread.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use sordino::base::Kind;
use sordino::recipe::AXES;
use sordino::{Error, Result};
use sordino_lab::experiment::{self, Ended, Observer};
use sordino_lab::record::{Point, Run as Recorded};
use sordino_lab::report::{self, RunView};
use sordino_tasks::plans::{self, Planned, Wish};

use crate::arrays::Vector;
use crate::errors::{refused, told};
use crate::recipe::Recipe;

/// How often a run is asked whether Ctrl-C was pressed.
const GLANCE: Duration = Duration::from_millis(50);

/// Sees a run: tells of it where it is asked to, and ends it where Python wants to end.
struct Watch {
    stop: AtomicBool,
    quiet: bool,
}

impl Observer for Watch {
    fn point(&self, point: &Point) {
        if self.quiet {
            return;
        }
        let accuracy = point.accuracy.map(|a| format!(", accuracy {:.2} %", 100.0 * a)).unwrap_or_default();
        let words = format!("round {}, step {}: loss {:.4}{accuracy}", point.round, point.step, point.train_loss);
        Python::attach(|py| {
            let printed = py.import("builtins").and_then(|builtins| builtins.call_method1("print", (words,)));
            // Whoever has closed the output does not want to hear.
            drop(printed);
        });
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// An error of planning: the library's own, or a wrong request.
fn planned<T>(result: anyhow::Result<T>) -> Result<T> {
    result.map_err(|e| match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::request(format!("{e:#}")),
    })
}

/// A recipe as the name of a row and what is chosen besides.
fn written(recipe: &sordino::recipe::Recipe) -> Result<(String, Vec<String>)> {
    let custom = recipe.method == "custom";
    let row = if custom { "sync-sgd" } else { &recipe.method };
    let named = sordino::recipe::Recipe::named(row)?;
    let mut sets = Vec::new();
    for axis in AXES.iter().filter(|axis| axis.name != "task") {
        let choice = recipe.choice(axis.name)?;
        if custom || choice != named.choice(axis.name)? {
            sets.push(format!("{}={choice}", axis.name));
        }
    }
    Ok((row.to_owned(), sets))
}

/// A run that is asked for.
struct Asked {
    recipe: sordino::recipe::Recipe,
    wish: Wish,
    seed: u64,
    out: Option<PathBuf>,
}

/// A run that has been made: how it ended, its recipe with every `auto` replaced, and where its report is.
struct Made {
    ended: Ended,
    recipe: sordino::recipe::Recipe,
    page: Option<PathBuf>,
}

impl Asked {
    /// Makes the run.
    fn make(self, watch: &Watch) -> Result<Made> {
        let mut made = plan(&self.recipe, self.wish, self.seed)?;
        if let Some(out) = &self.out {
            planned(plans::vacant(out))?;
            made.plan.out = Some(out.clone());
        }
        let ended = experiment::run(&*made.made.task, &made.plan, &sordino_tasks::clock::real(), watch)?;
        let page = self.out.as_deref().map(reported).transpose()?;
        Ok(Made { ended, recipe: made.plan.recipe, page })
    }
}

/// Makes a run with the interpreter let go; Ctrl-C ends it after its round.
fn watched(py: Python<'_>, asked: Asked, quiet: bool) -> PyResult<Made> {
    let watch = Watch { stop: AtomicBool::new(false), quiet };
    let (ran, interrupted) = py.detach(|| {
        std::thread::scope(|scope| {
            let (done, finished) = mpsc::channel();
            let watch = &watch;
            let worker = scope.spawn(move || {
                let ran = asked.make(watch);
                // Who waits for it waits in this very scope.
                let _ = done.send(());
                ran
            });
            let mut interrupted = None;
            while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(GLANCE) {
                if interrupted.is_none()
                    && let Some(wish) = Python::attach(|py| py.check_signals().err())
                {
                    watch.stop.store(true, Ordering::Relaxed);
                    interrupted = Some(wish);
                }
            }
            (worker.join(), interrupted)
        })
    });
    if let Some(wish) = interrupted {
        return Err(wish);
    }
    let ran = ran.unwrap_or_else(|_| Err(Error::new(Kind::System, "the run panicked; this is a defect")));
    told(py, ran)
}

/// Plans the run that was asked for.
fn plan(recipe: &sordino::recipe::Recipe, wish: Wish, seed: u64) -> Result<Planned> {
    let (row, sets) = written(recipe)?;
    let mut made = planned(plans::plan(&row, &Wish { sets, ..wish }, seed))?;
    made.plan.recipe.method.clone_from(&recipe.method);
    made.plan.header.label.clone_from(&recipe.method);
    made.label.clone_from(&recipe.method);
    Ok(made)
}

/// What a run came to, for Python: summary as JSON, points and model as vectors.
fn result(py: Python<'_>, made: Made) -> PyResult<Bound<'_, PyAny>> {
    let Made { ended, recipe, page } = made;
    let json = serde_json::to_string(&ended.summary).map_err(|e| Error::data(format!("a summary cannot be told: {e}")));
    let summary = py.import("json")?.call_method1("loads", (told(py, json)?,))?;
    let points = PyDict::new(py);
    for (at, (name, _)) in Point::default().columns().into_iter().enumerate() {
        let column: Vec<f64> = ended.points.iter().map(|p| p.columns()[at].1.unwrap_or(f64::NAN)).collect();
        if column.iter().any(|v| !v.is_nan()) {
            points.set_item(name, numpy::PyArray1::from_vec(py, column))?;
        }
    }
    let model = PyDict::new(py);
    for (tensor, range) in ended.layout.tensors() {
        let flat = Vector(ended.model.parameters[range].to_vec()).into_pyobject(py)?;
        model.set_item(&tensor.name, flat.call_method1("reshape", (tensor.shape.clone(),))?)?;
    }
    let mut from = 0;
    for tensor in ended.layout.buffers() {
        let flat = Vector(ended.model.buffers[from..from + tensor.len()].to_vec()).into_pyobject(py)?;
        model.set_item(&tensor.name, flat.call_method1("reshape", (tensor.shape.clone(),))?)?;
        from += tensor.len();
    }
    let page = page.map(|page| page.to_string_lossy().into_owned());
    py.import("sordino.result")?.getattr("Result")?.call1((summary, points, model, Recipe { inner: recipe }, page))
}

/// Trains a network of the library's on a task of the library's, with `workers` workers on threads of this process, as
/// the program's `sordino run` does: the same choices and seed give the same bits. `out` is a folder for the record, the
/// report and checkpoints; without it nothing is written. Ctrl-C ends the run after its round.
///
/// >>> ran = sordino.run("qsr", "quadratic(dim=8)", workers=2, steps=64)
/// >>> ran.summary["rounds"], ran.model["x"].shape
/// (16, (8,))
/// >>> bool(ran.points["train_loss"][-1] < ran.points["train_loss"][0])
/// True
#[pyfunction]
#[pyo3(signature = (
    recipe: "Recipe | str",
    task="digits-mlp",
    *,
    workers=4,
    steps=None,
    rounds=None,
    epochs=None,
    until=None,
    seed=0,
    data=None,
    start=None,
    eval_every=None,
    checkpoint_every=None,
    out=None,
    quiet=true,
) -> "sordino.result.Result")]
#[allow(clippy::too_many_arguments)] // They are keywords.
pub fn run<'py>(
    py: Python<'py>,
    recipe: &Bound<'py, PyAny>,
    task: &str,
    workers: u64,
    steps: Option<u64>,
    rounds: Option<u64>,
    epochs: Option<f64>,
    until: Option<String>,
    seed: u64,
    data: Option<PathBuf>,
    start: Option<PathBuf>,
    eval_every: Option<u64>,
    checkpoint_every: Option<u64>,
    out: Option<PathBuf>,
    quiet: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if !(1..=plans::WORKERS).contains(&workers) {
        return Err(refused(py, format!("`workers` is from 1 to {}, {workers} came", plans::WORKERS)));
    }
    if [steps.is_some(), rounds.is_some(), epochs.is_some()].iter().filter(|given| **given).count() > 1 {
        return Err(refused(py, "a run is as long as `steps`, `rounds` or `epochs` say; give one of them"));
    }
    let recipe = Recipe::read(recipe)?.inner;
    let (task, workers) = (Some(task.to_owned()), Some(workers));
    let sets = Vec::new();
    let wish = Wish {
        task,
        workers,
        steps,
        rounds,
        epochs,
        until,
        sets,
        data,
        start,
        eval_every,
        checkpoint_every,
        ranks: None,
    };
    let made = watched(py, Asked { recipe, wish, seed, out }, quiet)?;
    result(py, made)
}

/// Writes the report of the run in a folder.
fn reported(out: &Path) -> Result<PathBuf> {
    let (view, page) = (RunView::from(Recorded::load(out)?), out.join("report.html"));
    let title = format!("{} on {}", view.method, view.summary.task);
    report::write(&page, &title, std::slice::from_ref(&view))?;
    Ok(page)
}
