//! The library's tasks as problems that a loop of one's own can work on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use numpy::PyReadwriteArray1;
use pyo3::prelude::*;
use sordino::base::Role;
use sordino::grammar::Element;
use sordino::workload::{Batch, Draw, Split, Start, Workload};
use sordino::{Error, Result};
use sordino_tasks::tasks;

use crate::alone::Alone;
use crate::arrays::{Vector, copied, copy_into};
use crate::errors::{refused, told};

/// A task of the library's, dealt to so many workers: what `run` trains on, for a loop of one's own.
///
/// >>> problem = sordino.problem("quadratic(dim=4)", workers=2)
/// >>> problem.tensors, problem.rows
/// ([('x', [4], 'weight')], [1.0, 1.0])
/// >>> ran = sordino.run("local-sgd", "quadratic(dim=4)", workers=1, steps=20)
/// >>> alone = sordino.problem("quadratic(dim=4)", workers=1)
/// >>> session = sordino.Session(ran.recipe, alone.tensors, alone.start, steps=20, own_optimizer=True)
/// >>> while not session.done:
/// ...     told = session.round(alone.gradient)
/// >>> (session.model == ran.model["x"]).all()
/// np.True_
#[pyclass(module = "sordino")]
pub struct Problem {
    workload: Alone<Box<dyn Workload>>,
    start: Start,
    clients: u64,
    seed: u64,
    batch: Batch,
    name: String,
}

#[pymethods]
impl Problem {
    /// The model's tensors: name, shape, role.
    #[getter]
    fn tensors(&mut self) -> Vec<(String, Vec<usize>, &'static str)> {
        let layout = self.workload.lend().layout().clone();
        let role = |role| match role {
            Role::Weight => "weight",
            Role::Bias => "bias",
            Role::Norm => "norm",
            Role::Buffer => "buffer",
        };
        let parameters = layout.tensors().map(|(tensor, _)| tensor);
        let all = parameters.chain(layout.buffers());
        all.map(|tensor| (tensor.name.clone(), tensor.shape.clone(), role(tensor.role))).collect()
    }

    /// Where training begins. A copy.
    #[getter]
    fn start(&self) -> Vector {
        Vector(self.start.parameters.clone())
    }

    /// The buffers that training begins with. A copy.
    #[getter]
    fn buffers(&self) -> Vector {
        Vector(self.start.buffers.clone())
    }

    /// How many training rows each worker holds.
    #[getter]
    fn rows(&mut self) -> Vec<f64> {
        let workload = self.workload.lend();
        (0..self.clients).map(|client| workload.rows(client) as f64).collect()
    }

    /// Writes the gradient of a worker's step at `x` into `out` and returns the loss: what `Session.round` asks for. Buffers
    /// are changed in place.
    #[pyo3(signature = (
        x: "numpy.typing.NDArray[numpy.float32]",
        step,
        client,
        out: "numpy.typing.NDArray[numpy.float32]",
        buffers: "numpy.typing.NDArray[numpy.float32] | None" = None,
    ))]
    fn gradient(
        &mut self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        step: u64,
        client: u64,
        out: &Bound<'_, PyAny>,
        buffers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<f64> {
        let x = copied("the point", x)?;
        let draw = Draw { seed: self.seed, client, step, batch: self.batch };
        let mut kept = match buffers {
            Some(buffers) => copied("`buffers`", buffers)?,
            None => self.start.buffers.clone(),
        };
        let workload = self.workload.lend();
        let found = py.detach(|| -> Result<(f64, Vec<f32>)> {
            workload.layout().expect("the point", &x)?;
            let mut gradient = vec![0.0; x.len()];
            Ok((workload.gradient(&x, &mut kept, &draw, &mut gradient)?, gradient))
        });
        let (loss, gradient) = told(py, found)?;
        write_into("`out`", out, &gradient)?;
        if let Some(buffers) = buffers {
            write_into("`buffers`", buffers, &kept)?;
        }
        Ok(loss)
    }

    /// Loss, accuracy (where the task has answers) and number of examples on `train` or held-out rows (`test`); None where
    /// the task has no such rows.
    #[pyo3(signature = (
        x: "numpy.typing.NDArray[numpy.float32]",
        buffers: "numpy.typing.NDArray[numpy.float32] | None" = None,
        split="test",
    ))]
    fn evaluate(
        &mut self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        buffers: Option<&Bound<'_, PyAny>>,
        split: &str,
    ) -> PyResult<Option<BTreeMap<&'static str, f64>>> {
        let split = match split {
            "train" => Split::Train,
            "test" => Split::Test,
            other => return Err(refused(py, format!("`split` is train or test, but {other:?} came"))),
        };
        let x = copied("the point", x)?;
        let mut kept = self.start.buffers.clone();
        if let Some(buffers) = buffers {
            copy_into("`buffers`", buffers, &mut kept)?;
        }
        let workload = self.workload.lend();
        let found = told(
            py,
            py.detach(|| {
                workload.layout().expect("the point", &x)?;
                workload.evaluate(&x, &kept, split)
            }),
        )?;
        Ok(found.map(|found| {
            let numbers = [("loss", Some(found.loss)), ("accuracy", found.accuracy)];
            let known = numbers.into_iter().filter_map(|(name, number)| Some((name, number?)));
            known.chain([("examples", found.examples as f64)]).collect()
        }))
    }

    fn __repr__(&self) -> String {
        format!("<problem {} for {} workers>", self.name, self.clients)
    }
}

/// Writes a vector into an array of Python's.
fn write_into(what: &str, out: &Bound<'_, PyAny>, vector: &[f32]) -> PyResult<()> {
    let written =
        out.extract::<PyReadwriteArray1<'_, f32>>().ok().filter(|array| array.as_array().len() == vector.len());
    let Some(mut array) = written else {
        let sentence = format!("{what} must be a flat float32 array of {} entries that may be written", vector.len());
        return Err(refused(out.py(), sentence));
    };
    array.as_array_mut().iter_mut().zip(vector).for_each(|(a, b)| *a = *b);
    Ok(())
}

/// The task that `text` names, dealt to so many workers. `batch` is how many rows a step looks at, by default what the task
/// suggests, as in `run`; 0 are all of a worker's.
#[pyfunction]
#[pyo3(signature = (task="digits-mlp", *, workers=4, seed=0, batch=None, partition="iid", data=None))]
pub fn problem(
    py: Python<'_>,
    task: &str,
    workers: usize,
    seed: u64,
    batch: Option<usize>,
    partition: &str,
    data: Option<PathBuf>,
) -> PyResult<Problem> {
    let made = py.detach(move || -> Result<Problem> {
        let mut recipe = sordino::recipe::Recipe::default();
        let element = Element::parse(task)?;
        let entry = tasks::entry(&element.name)?;
        recipe.choose("task", &entry.listing.normalise(&element)?)?;
        recipe.choose("partition", &Element::parse(partition)?)?;
        if workers == 0 {
            return Err(Error::request("a problem is dealt to at least one worker, 0 came"));
        }
        let deal = recipe.choice("partition")?;
        let made = entry.make(recipe.choice("task")?, deal, workers, seed, data.as_ref(), 0)?;
        let workload = made.task.workload(workers, seed)?;
        let batch = match batch.unwrap_or(entry.defaults.batch) {
            0 => Batch::Full,
            rows => Batch::Rows(rows),
        };
        let (start, name) = (workload.start(seed), recipe.choice("task")?.to_string());
        Ok(Problem { workload: Alone::new(workload), start, clients: workers as u64, seed, batch, name })
    });
    told(py, made)
}
