//! Sessions: one rank of a run, for a loop of the caller's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use sordino::Result;
use sordino::base::{Kind, Layout, Party, Purpose, Role, Tensor};
use sordino::engine::Pace;
use sordino::fabric::{Metered, Port, connect};
use sordino::payload::Payload;
use sordino::workload::Start;
use sordino_lab::record::{FlowRow, flows_of};

use crate::alone::Alone;
use crate::arrays::{Vector, bytes_into, copied, copy_into};
use crate::codec::role;
use crate::engine::{Asked, Engine, Stage};
use crate::errors::{is_failure, raised, refused, told};
use crate::port::{Cause, Causes, Heard, Talk};
use crate::recipe::Recipe;
use crate::record::{Look, Seconds};
use crate::told::Told;
use crate::workload::{Given, Gradient};

/// One rank of a run, for a loop of one's own.
///
/// `tensors` are the model's, (name, shape, role), where a role is weight, bias, norm or buffer and may be left out. All
/// vectors are flat float32 arrays with the tensors one after another; those that are buffers (running statistics) are a
/// vector of their own. `port` is an object with `rank`, `size`, `send(to, data)` and `receive(from_)`: messages arrive
/// in order, whole and once, and `send` does not wait for the receiver; without one the rank is alone. Where it also has
/// `all_reduce(x)`, which adds up a float32 array in place (it is lent for the call), `exchange=reduce(engine)` uses that, and where it has
/// `here(ranks)`, which says without waiting whether words of all these have come, `staleness=delayed` answers them while
/// it works. Messages are counted and waiting is timed. `rows` says how many training rows each rank (or drawn client)
/// holds, where an aggregator weighs them; `steps` how many steps the run has, where that is known.
///
/// Either the recipe's optimizer makes the steps: `own_optimizer=True`, and `round(gradient)` is all there is to call.
/// All ranks that do so get the bits that the program's threads get.
///
/// >>> import numpy, sordino
/// >>> def gradient(x, step, client, out):
/// ...     out[:] = x - 3
/// ...     return float(0.5 * ((x - 3) ** 2).sum())
/// >>> recipe = sordino.Recipe("local-sgd", optim="sgd(rate=0.5, momentum=0)")
/// >>> start = numpy.zeros(4, numpy.float32)
/// >>> session = sordino.Session(recipe, [("x", (4,))], start, steps=16, own_optimizer=True)
/// >>> while not session.done:
/// ...     told = session.round(gradient)
/// >>> session.model.round(3).tolist()
/// [3.0, 3.0, 3.0, 3.0]
///
/// Or the caller makes them, at rates of its own: a round is `begin`, `pace`, the steps, what they led to, `close_after`.
/// What is told at the end depends on `payload`: where the steps led (`set_point`) for parameters; what they subtracted
/// from `point` in sum for a displacement, or the gradient (both `set_offer`). Of a gradient, `update` is then what all
/// agreed on; the caller steps along it from the `point` where the round began and says with `place` where that led.
///
/// >>> session = sordino.Session("qsr", [("x", (4,))], start, steps=40)
/// >>> session.payload
/// 'parameters'
/// >>> while not session.done:
/// ...     session.begin()
/// ...     x = session.point
/// ...     steps = session.pace(rate=0.2)
/// ...     for _ in range(steps):
/// ...         x -= numpy.float32(0.2) * (x - 3)
/// ...     session.set_point(x)
/// ...     told = session.close_after(steps)
/// >>> session.rounds, session.model.round(3).tolist()
/// (10, [3.0, 3.0, 3.0, 3.0])
///
/// With `staleness=delayed` such a caller goes on while words travel: `speak_after` in the place of `close_after`, up to
/// `pace_ahead` steps of the next round with `progress` after each, then `hear` and `begin`; it goes on at `point` less what
/// these steps add up to.
#[pyclass(module = "sordino")]
pub struct Session {
    engine: Alone<Engine>,
}

impl Session {
    /// Does something with the interpreter let go. What fails in between leaves the round half done.
    fn act<T: Send>(&mut self, py: Python<'_>, work: impl FnOnce(&mut Engine) -> Result<T> + Send) -> PyResult<T> {
        let engine = self.engine.lend();
        let done = py.detach(|| work(engine));
        done.map_err(|error| {
            if error.kind() != Kind::Request {
                engine.stage = Stage::Broken;
            }
            match engine.causes.take() {
                Some(Cause::Gradient(raised)) => raised,
                Some(Cause::Port(cause)) if !is_failure(py, &cause) => cause,
                Some(Cause::Port(cause)) => {
                    let error = raised(py, &error);
                    error.set_cause(py, Some(cause));
                    error
                }
                None => raised(py, &error),
            }
        })
    }

    /// Does something with a callback that tells gradients.
    fn with_gradient<T: Send>(
        &mut self,
        py: Python<'_>,
        gradient: Option<Bound<'_, PyAny>>,
        work: impl FnOnce(&mut Engine) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.engine.lend().gradient.lend(gradient.map(Bound::unbind));
        let done = self.act(py, work);
        self.engine.lend().gradient.lend(None);
        done
    }
}

/// The layout of a list of tensors.
fn layout(tensors: &Bound<'_, PyAny>) -> PyResult<Layout> {
    let py = tensors.py();
    let mut all = Vec::new();
    for tensor in tensors.try_iter()? {
        let tensor = tensor?;
        let (name, shape, kind) = if let Ok((name, shape, kind)) = tensor.extract::<(String, Vec<usize>, String)>() {
            (name, shape, role(py, &kind)?)
        } else {
            let (name, shape) = tensor.extract::<(String, Vec<usize>)>().map_err(|_| {
                refused(py, format!("a tensor is (name, shape) or (name, shape, role), but {tensor} came"))
            })?;
            let kind = if shape.len() > 1 { Role::Weight } else { Role::Bias };
            (name, shape, kind)
        };
        all.push(Tensor::new(name, &shape, kind));
    }
    Ok(Layout::new(all))
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (
        recipe: "Recipe | str",
        tensors: "collections.abc.Iterable[tuple[str, collections.abc.Sequence[int]] | tuple[str, collections.abc.Sequence[int], str]]",
        start: "numpy.typing.NDArray[numpy.float32]",
        port: "object | None" = None,
        *,
        buffers: "numpy.typing.NDArray[numpy.float32] | None" = None,
        seed=0,
        steps=None,
        rows: "collections.abc.Sequence[float] | None" = None,
        own_optimizer=false,
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn new(
        py: Python<'_>,
        recipe: &Bound<'_, PyAny>,
        tensors: &Bound<'_, PyAny>,
        start: &Bound<'_, PyAny>,
        port: Option<&Bound<'_, PyAny>>,
        buffers: Option<&Bound<'_, PyAny>>,
        seed: u64,
        steps: Option<u64>,
        rows: Option<Vec<f64>>,
        own_optimizer: bool,
    ) -> PyResult<Self> {
        let layout = layout(tensors)?;
        let parameters = copied("`start`", start)?;
        told(py, layout.expect("`start`", &parameters))?;
        let mut kept = vec![0.0; layout.buffer_len()];
        if let Some(buffers) = buffers {
            copy_into("`buffers`", buffers, &mut kept)?;
        }
        let (heard, causes, clock) = (Heard::default(), Causes::default(), sordino_tasks::clock::real());
        let engine = match port {
            Some(object) => object.hasattr("all_reduce")?,
            None => false,
        };
        let port: Box<dyn Port> = match port {
            Some(object) => Box::new(Talk::new(object, heard.clone(), causes.clone())?),
            None => Box::new(connect(1).remove(0)),
        };
        let given = Given {
            layout,
            start: Start { parameters, buffers: kept },
            rows: rows.unwrap_or_default().into_iter().map(|rows| rows.max(0.0).round() as usize).collect(),
            told: Gradient::default(),
            causes,
        };
        let recipe = Recipe::read(recipe)?.inner;
        let port = Box::new(Metered::new(port, Arc::clone(&clock)));
        let asked = Asked { recipe, given, port, clock, seed, steps, own_optimizer, heard, engine };
        Ok(Self { engine: Alone::new(told(py, Engine::new(asked))?) })
    }

    /// One round with the recipe's own steps. `gradient(x, step, client, out)` writes the gradient at `x` into `out` and
    /// returns the loss; a model with buffers is told them as a fifth argument and may change them in place. `flags` of
    /// rank 0 are told to everybody. What `gradient` raises comes out unchanged.
    #[pyo3(signature = (gradient: "collections.abc.Callable[..., float]", flags=0))]
    fn round(&mut self, py: Python<'_>, gradient: Bound<'_, PyAny>, flags: u8) -> PyResult<Told> {
        Ok(Told::of(&self.with_gradient(py, Some(gradient), |engine| engine.round(flags))?, false))
    }

    /// Opens a round of a caller that makes its own steps: afterwards it stands at `point`.
    fn begin(&mut self, py: Python<'_>) -> PyResult<()> {
        self.act(py, Engine::begin)
    }

    /// How many steps the caller makes in the round that has begun, at most `most`. `rate` is that of the first of them,
    /// the same on every rank; `warming` says that warm-up is known to last.
    #[pyo3(signature = (rate, *, warming=false, most=None))]
    fn pace(&mut self, py: Python<'_>, rate: f64, warming: bool, most: Option<u64>) -> PyResult<u64> {
        self.act(py, |engine| engine.pace(Pace { rate, warming, most }))
    }

    /// Closes the round after so many steps, the same number on every rank: what was offered is said, and the model moves
    /// by what all agree on.
    #[pyo3(signature = (steps, flags=0))]
    fn close_after(&mut self, py: Python<'_>, steps: u64, flags: u8) -> PyResult<Told> {
        Ok(Told::of(&self.act(py, |engine| engine.close(Some(steps), flags))?, true))
    }

    /// The first half of `close_after`: what was offered is on its way.
    #[pyo3(signature = (steps, flags=0))]
    fn speak_after(&mut self, py: Python<'_>, steps: u64, flags: u8) -> PyResult<()> {
        self.act(py, |engine| engine.speak(steps, flags))
    }

    /// How many steps of the next round may be made before it begins: as many as `staleness=delayed` and that round allow.
    /// Arguments are those of its `pace`.
    #[pyo3(signature = (rate, *, warming=false, most=None))]
    fn pace_ahead(&mut self, py: Python<'_>, rate: f64, warming: bool, most: Option<u64>) -> PyResult<u64> {
        self.act(py, |engine| engine.pace_ahead(Pace { rate, warming, most }))
    }

    /// Moves on what is on its way, between two steps; never waits.
    fn progress(&mut self, py: Python<'_>) -> PyResult<()> {
        self.act(py, |engine| engine.whole().and_then(|()| engine.session.progress()))
    }

    /// The second half of `close_after`: the model moves by what all agree on.
    fn hear(&mut self, py: Python<'_>) -> PyResult<Told> {
        Ok(Told::of(&self.act(py, Engine::hear)?, true))
    }

    /// Opens a round at the recipe's own rate: how many steps the caller makes from `point`.
    fn open(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.act(py, Engine::open)
    }

    /// Closes the round that `open` began.
    #[pyo3(signature = (flags=0))]
    fn close(&mut self, py: Python<'_>, flags: u8) -> PyResult<Told> {
        Ok(Told::of(&self.act(py, |engine| engine.close(None, flags))?, true))
    }

    /// Where the steps of this round begin, or have led. A copy.
    #[getter]
    fn point(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().point().to_vec())
    }

    /// Says where the steps led: what is offered where parameters are.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn set_point(&mut self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_into("the point", x, self.engine.lend().session.worker().point())
    }

    /// Says what will be offered: what the steps subtracted from `point` in sum, or the gradient.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn set_offer(&mut self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_into("the offer", x, self.engine.lend().session.worker().offer())
    }

    /// What the last meeting subtracted from the model; where the caller steps and gradients are offered, the gradient
    /// that was agreed on. A copy.
    #[getter]
    fn update(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().update().to_vec())
    }

    /// The agreed model; where the caller steps and gradients are offered, only once it has said `place`. A copy.
    #[getter]
    fn model(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().model().to_vec())
    }

    /// Says where the caller's own steps have led, the same on every rank: the model that the next round begins from.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn place(&mut self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let x = copied("the model", x)?;
        told(py, self.engine.lend().session.worker().place(&x))
    }

    /// This rank's buffers. A copy.
    #[getter]
    fn buffers(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().buffers().to_vec())
    }

    /// Says what the caller's steps have made of the buffers.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn set_buffers(&mut self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_into("the buffers", x, self.engine.lend().session.worker().buffers_mut())
    }

    /// The mean of all ranks' vectors, dense and in the order of ranks: a collective call, counted under `purpose`.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]", purpose="evaluate"))]
    fn average(&mut self, py: Python<'_>, x: &Bound<'_, PyAny>, purpose: &str) -> PyResult<Vector> {
        let (mut x, purpose) = (copied("the vector to average", x)?, told(py, purpose.parse::<Purpose>())?);
        self.act(py, |engine| engine.quiet().and_then(|()| engine.session.average(&purpose, &mut x)))?;
        Ok(Vector(x))
    }

    /// The mean of the vectors of the ranks of this host, where `topology=hosts` says that there are several: a collective
    /// call of theirs, which a caller makes for its gradients at every step. Elsewhere the vector as it came.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn together(&mut self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Vector> {
        let mut x = copied("the vector to average", x)?;
        self.act(py, |engine| engine.whole().and_then(|()| engine.session.together(&mut x)))?;
        Ok(Vector(x))
    }

    /// Rank 0's vector on every rank: a collective call, counted under `purpose`.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]", purpose="control"))]
    fn broadcast(&mut self, py: Python<'_>, x: &Bound<'_, PyAny>, purpose: &str) -> PyResult<Vector> {
        let (mut x, purpose) = (copied("the vector to broadcast", x)?, told(py, purpose.parse::<Purpose>())?);
        self.act(py, |engine| engine.quiet().and_then(|()| engine.session.broadcast(&purpose, &mut x)))?;
        Ok(Vector(x))
    }

    /// The model and the buffers that an evaluation uses: a collective call. `gradient` is asked only where buffers are
    /// estimated anew.
    #[pyo3(signature = (gradient: "collections.abc.Callable[..., float] | None" = None))]
    fn evaluated(&mut self, py: Python<'_>, gradient: Option<Bound<'_, PyAny>>) -> PyResult<(Vector, Vector)> {
        let found = self.with_gradient(py, gradient, |engine| {
            engine.quiet()?;
            engine.session.evaluated(&mut *engine.workload)
        })?;
        Ok((Vector(found.parameters), Vector(found.buffers)))
    }

    /// Whether all steps are done, or the budget of privacy is spent.
    #[getter]
    fn done(&mut self) -> bool {
        self.engine.lend().session.done()
    }

    /// Rounds done.
    #[getter]
    fn rounds(&mut self) -> u64 {
        self.engine.lend().session.worker().position().0
    }

    /// Local steps done.
    #[getter]
    fn steps(&mut self) -> u64 {
        self.engine.lend().session.worker().position().1
    }

    /// This rank, from 0.
    #[getter]
    fn rank(&mut self) -> usize {
        self.engine.lend().rank
    }

    /// How many ranks there are.
    #[getter]
    fn size(&mut self) -> usize {
        self.engine.lend().ranks
    }

    /// What is offered: parameters, displacement or gradient.
    #[getter]
    fn payload(&mut self) -> &'static str {
        match self.engine.lend().session.worker().payload() {
            Payload::Parameters => "parameters",
            Payload::Displacement => "displacement",
            Payload::Gradient => "gradient",
        }
    }

    /// Whether `point` may lie elsewhere than the model when a round has begun, because a residual is looked ahead of.
    #[getter]
    fn looks_ahead(&mut self) -> bool {
        self.engine.lend().looks_ahead
    }

    /// The recipe as it is carried out: every `auto` replaced. A copy.
    #[getter]
    fn recipe(&mut self) -> Recipe {
        Recipe { inner: self.engine.lend().recipe.clone() }
    }

    /// Training bytes that this rank sent.
    #[getter]
    fn bytes_sent(&mut self) -> u64 {
        let engine = self.engine.lend();
        let me = Party::Worker(engine.rank);
        engine.session.metered(|meter| meter.ledger.sent_by(me)).unwrap_or(0)
    }

    /// Training bytes that this rank received.
    #[getter]
    fn bytes_received(&mut self) -> u64 {
        let engine = self.engine.lend();
        engine.heard.lock().received_by(Party::Worker(engine.rank))
    }

    /// What this rank (and the server or the clients that it plays) sent: for each link and purpose `from`, `to`,
    /// `purpose`, `messages` and `bytes`. All ranks' ledgers make the whole.
    #[pyo3(signature = () -> "list[dict[str, str | int]]")]
    fn ledger<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let flows = self.engine.lend().session.metered(|meter| flows_of(&meter.ledger)).unwrap_or_default();
        let rows = flows.into_iter().map(|FlowRow { from, to, purpose, messages, bytes }| {
            let row = PyDict::new(py);
            row.set_item("from", from)?;
            row.set_item("to", to)?;
            row.set_item("purpose", purpose)?;
            row.set_item("messages", messages)?;
            row.set_item("bytes", bytes)?;
            Ok(row)
        });
        PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }

    /// Where this rank's time went, in seconds: `compute` in steps (from `open` or `pace` to the close of a round, where the
    /// caller makes them), `cpu` of the processor in steps of ours, `exchange`, `wait` for others, and `wall`.
    fn times(&mut self) -> BTreeMap<&'static str, f64> {
        let Seconds { compute, cpu, exchange, wait, wall } = self.engine.lend().seconds();
        [("compute", compute), ("cpu", cpu), ("exchange", exchange), ("wait", wait), ("wall", wall)].into()
    }

    /// Everything this rank remembers, as bytes: the model, residuals, streams, the ledger and the record. A round that is
    /// open is opened anew after it is taken back.
    fn save<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.act(py, Engine::save)?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Takes back what `save` gave on this rank; what follows is what would have followed.
    #[pyo3(signature = (state: "bytes | bytearray | memoryview"))]
    fn load(&mut self, py: Python<'_>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut bytes = Vec::new();
        bytes_into(state, &mut bytes)?;
        self.act(py, |engine| engine.load(&bytes))
    }

    /// Takes what all ranks of a session saved, in rank order, that may have had another number of ranks: residuals, shifts
    /// and optimizer state are dealt anew, so that the model is owed what it was owed.
    #[pyo3(signature = (states: "collections.abc.Iterable[bytes | bytearray | memoryview]"))]
    fn load_dealt(&mut self, py: Python<'_>, states: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut all = Vec::new();
        for state in states.try_iter()? {
            let mut bytes = Vec::new();
            bytes_into(&state?, &mut bytes)?;
            all.push(bytes);
        }
        self.act(py, |engine| engine.load_dealt(&all))
    }

    /// Puts a point on the record, which rank 0 keeps: a collective call. Losses are those of the agreed model, accuracy is
    /// between 0 and 1; what is not known is left out.
    #[pyo3(signature = (train_loss=f64::NAN, *, eval_loss=f64::NAN, accuracy=None, epoch=0.0))]
    fn record_point(
        &mut self,
        py: Python<'_>,
        train_loss: f64,
        eval_loss: f64,
        accuracy: Option<f64>,
        epoch: f64,
    ) -> PyResult<()> {
        self.act(py, |engine| engine.record_point(Look { train_loss, eval_loss, accuracy, epoch }))
    }

    /// Writes the record, its summary, the recipe and the report into a folder: a collective call. Rank 0 is told where
    /// the report is, the others None.
    #[pyo3(signature = (folder, *, task="a loop of one's own", label=""))]
    fn write(&mut self, py: Python<'_>, folder: PathBuf, task: &str, label: &str) -> PyResult<Option<String>> {
        let page = self.act(py, move |engine| engine.write(&folder, task, label))?;
        Ok(page.map(|page| page.to_string_lossy().into_owned()))
    }

    fn __repr__(&mut self) -> String {
        let engine = self.engine.lend();
        let (rounds, steps) = engine.session.worker().position();
        let method = &engine.recipe.method;
        format!("<session of {method}: rank {} of {}, {rounds} rounds, {steps} steps>", engine.rank, engine.ranks)
    }
}
