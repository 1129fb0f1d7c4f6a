//! Sessions: one rank of a run, for a loop of the caller's own.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use sordino::base::{Layout, Party, Tensor};
use sordino::engine;
use sordino::fabric::{Clock, Metered, Port, connect};
use sordino::payload::Payload;
use sordino::placement::Placement;
use sordino::recipe::check;
use sordino::workload::{Start, Workload};
use sordino::{Error, Result};
use sordino_lab::record::{FlowRow, flows_of};

use crate::alone::Alone;
use crate::arrays::{Vector, copied, copy_into};
use crate::clock;
use crate::codec::role;
use crate::errors::{is_failure, raised, refused, told};
use crate::port::{Cause, Causes, Heard, Talk};
use crate::recipe::Recipe;
use crate::workload::{self, Given};

/// What a round found.
#[pyclass(module = "sordino", frozen, get_all)]
#[derive(Clone)]
pub struct Told {
    /// Rounds done.
    rounds: u64,
    /// Local steps done.
    steps: u64,
    /// Local steps of this round.
    silence: u64,
    /// The rate of the round's first step.
    rate: f64,
    /// Mean mini-batch loss of this rank over the round; NaN where nobody told it.
    loss: f64,
    /// How many of the round's steps were shortened by clipping.
    clipped: u64,
    /// How many offers of this rank were shortened by clipping before they were sent.
    shortened: u64,
    /// How many spoke in all.
    voices: u64,
    /// The norm of what the feedback remembers.
    residual_norm: Option<f64>,
    /// What has been spent of privacy so far, where anything hides contributions.
    epsilon: Option<f64>,
    /// What rank 0 decided for everybody.
    flags: u8,
}

impl From<engine::Told> for Told {
    fn from(told: engine::Told) -> Self {
        let engine::Told { rounds, steps, silence, rate, loss, clipped, shortened, voices, residual_norm, .. } = told;
        let (epsilon, flags) = (told.epsilon, told.flags);
        Self { rounds, steps, silence, rate, loss, clipped, shortened, voices, residual_norm, epsilon, flags }
    }
}

#[pymethods]
impl Told {
    fn __repr__(&self) -> String {
        format!("<round {}: {} steps, loss {}>", self.rounds, self.silence, self.loss)
    }
}

/// A session with what it stands on.
struct Engine {
    session: engine::Session,
    workload: Box<dyn Workload>,
    recipe: sordino::recipe::Recipe,
    gradient: workload::Told,
    causes: Causes,
    heard: Heard,
    /// Whether an error left a round half done.
    broken: bool,
    /// Whether a round is open.
    open: bool,
    own_optimizer: bool,
    buffers: usize,
}

impl Engine {
    /// The exception of an error: what Python raised below, or the library's own.
    fn raised(&self, py: Python<'_>, error: &Error) -> PyErr {
        match self.causes.take() {
            Some(Cause::Gradient(raised)) => raised,
            Some(Cause::Port(cause)) if !is_failure(py, &cause) => cause,
            Some(Cause::Port(cause)) => {
                let error = raised(py, error);
                error.set_cause(py, Some(cause));
                error
            }
            None => raised(py, error),
        }
    }

    fn whole(&self) -> Result<()> {
        if self.broken {
            return Err(Error::mismatch("this session broke off in the middle of a round; load what it saved before"));
        }
        Ok(())
    }

    fn between_rounds(&self) -> Result<()> {
        self.whole()?;
        if self.open {
            return Err(Error::request("a round is open: close it first"));
        }
        Ok(())
    }

    fn in_round(&self) -> Result<()> {
        self.whole()?;
        if !self.open {
            return Err(Error::request("no round is open: open one first"));
        }
        Ok(())
    }
}

/// One rank of a run.
///
/// `tensors` are the model's (name, shape, role), where a role is weight, bias, norm or buffer and may be left out; all
/// vectors are flat float32 arrays with these tensors one after another. `port` is an object with `rank`, `size`,
/// `send(to, data)` and `receive(from_)`, whose messages arrive in order, whole and once, and whose `send` does not wait
/// for the receiver; without one the rank is alone. `rows` says how many training rows each client holds.
///
/// With `own_optimizer=True` the recipe's optimizer makes the steps and `round` is all there is to call:
///
/// >>> import numpy, sordino
/// >>> def gradient(x, step, client, out):
/// ...     out[:] = x - 3
/// ...     return float(0.5 * ((x - 3) ** 2).sum())
/// >>> start = numpy.zeros(4, numpy.float32)
/// >>> session = sordino.Session(sordino.Recipe("local-sgd", optim="sgd(rate=0.5, momentum=0)"),
/// ...     [("x", (4,))], start, steps=16, own_optimizer=True)
/// >>> while not session.done:
/// ...     told = session.round(gradient)
/// >>> session.model.round(3).tolist()
/// [3.0, 3.0, 3.0, 3.0]
#[pyclass(module = "sordino")]
pub struct Session {
    engine: Alone<Engine>,
}

impl Session {
    /// Does something with the interpreter let go.
    fn act<T: Send>(&mut self, py: Python<'_>, work: impl FnOnce(&mut Engine) -> Result<T> + Send) -> PyResult<T> {
        let engine = self.engine.lend();
        let done = py.detach(|| work(engine));
        done.map_err(|error| {
            engine.broken |= error.kind() != sordino::base::Kind::Request;
            engine.raised(py, &error)
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
        let (name, shape, kind) = match tensor.extract::<(String, Vec<usize>, String)>() {
            Ok((name, shape, kind)) => (name, shape, role(py, &kind)?),
            Err(_) => {
                let (name, shape) = tensor.extract::<(String, Vec<usize>)>().map_err(|_| {
                    refused(py, format!("a tensor is (name, shape) or (name, shape, role), but {tensor} came"))
                })?;
                let kind = if shape.len() > 1 { "weight" } else { "bias" };
                (name, shape, role(py, kind)?)
            }
        };
        all.push(Tensor::new(name, &shape, kind));
    }
    Ok(Layout::new(all))
}

/// What a session cannot do, by name.
fn suits(recipe: &sordino::recipe::Recipe, own_optimizer: bool) -> Result<()> {
    if recipe.placement()? != Placement::Replicate {
        return Err(Error::request(format!(
            "`placement={}`: a session's model is the caller's and cannot be cut into blocks; set placement=replicate",
            recipe.choice("placement")?
        )));
    }
    let participation = recipe.participation()?;
    if participation.served().is_some() {
        return Err(Error::request(format!(
            "`participation={}` needs a server that serves whoever comes, which a session's port cannot tell; \
             set participation=everyone",
            recipe.choice("participation")?
        )));
    }
    if own_optimizer {
        return Ok(());
    }
    if participation.federated() {
        return Err(Error::request(format!(
            "`participation={}`: clients are played by our own steps, not by a loop of the caller's; \
             set participation=everyone, or own_optimizer=True and call round(gradient)",
            recipe.choice("participation")?
        )));
    }
    let local = recipe.choice("local")?;
    if local.name != "descent" {
        return Err(Error::request(format!(
            "`local={local}` makes steps of its own, but here the caller makes them; \
             set local=descent, or own_optimizer=True and call round(gradient)"
        )));
    }
    if let Some(estimate) = local.named.get("estimate").filter(|e| e.to_string() != "plain") {
        return Err(Error::request(format!(
            "`local.estimate={estimate}` finds gradients, but here the caller does; \
             set local.estimate=plain, or own_optimizer=True and call round(gradient)"
        )));
    }
    Ok(())
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (
        recipe: "Recipe | str",
        tensors: "collections.abc.Iterable[tuple[str, collections.abc.Sequence[int]] | tuple[str, collections.abc.Sequence[int], str]]",
        start: "numpy.typing.NDArray[numpy.float32]",
        port: "Port | None" = None,
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
        let (heard, causes, clock) = (Heard::default(), Causes::default(), clock::real());
        let port: Box<dyn Port> = match port {
            Some(object) => Box::new(Talk::new(object, heard.clone(), causes.clone())?),
            None => Box::new(connect(1).remove(0)),
        };
        let port: Box<dyn Port> = Box::new(Metered::new(port, Arc::clone(&clock)));
        let rows: Vec<usize> = rows.unwrap_or_default().into_iter().map(|rows| rows.max(0.0).round() as usize).collect();
        let gradient = workload::Told::default();
        let buffers = kept.len();
        let given = Given {
            layout,
            start: Start { parameters, buffers: kept },
            rows,
            told: gradient.clone(),
            causes: causes.clone(),
        };
        let mut recipe = Recipe::read(recipe)?.inner;
        told(py, settle(&mut recipe, &given, port.size(), steps, own_optimizer))?;
        let made = begin(&recipe, given, port, clock, seed, steps);
        let (session, workload) = told(py, made)?;
        let engine = Engine {
            session,
            workload,
            recipe,
            gradient,
            causes,
            heard,
            broken: false,
            open: false,
            own_optimizer,
            buffers,
        };
        Ok(Self { engine: Alone::new(engine) })
    }

    /// One round with the recipe's own steps. `gradient(x, step, client, out)` writes the gradient at `x` into `out` and
    /// returns the loss; a model with buffers is told them as a fifth argument and may change them in place.
    #[pyo3(signature = (gradient: "collections.abc.Callable[..., float]", flags=0))]
    fn round(&mut self, py: Python<'_>, gradient: Bound<'_, PyAny>, flags: u8) -> PyResult<Told> {
        let told = self.with_gradient(py, Some(gradient), |engine| {
            engine.between_rounds()?;
            if !engine.own_optimizer {
                return Err(Error::request(
                    "round(gradient) makes the steps itself, but this session leaves them to the caller; \
                     pass own_optimizer=True, or use open and close",
                ));
            }
            engine.session.round(&mut *engine.workload, flags)
        })?;
        Ok(told.into())
    }

    /// Opens a round: how many steps to make from `point`, at the recipe's own rate.
    fn open(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.act(py, |engine| {
            engine.between_rounds()?;
            if engine.session.worker().federated() {
                return Err(Error::request("federated clients speak one after another: call round(gradient)"));
            }
            let steps = engine.session.open()?;
            engine.open = true;
            Ok(steps)
        })
    }

    /// Closes the round that `open` began: says what was offered and moves the model by what all agreed on.
    #[pyo3(signature = (flags=0))]
    fn close(&mut self, py: Python<'_>, flags: u8) -> PyResult<Told> {
        let told = self.act(py, |engine| {
            engine.in_round()?;
            engine.open = false;
            engine.session.close(flags)
        })?;
        Ok(told.into())
    }

    /// Where the silent steps of this round begin, or have led.
    #[getter]
    fn point(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().point().to_vec())
    }

    /// Where the steps led: what is offered where parameters are.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn set_point(&mut self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_into("`x`", x, self.engine.lend().session.worker().point())
    }

    /// What will be offered: what the steps subtracted from `point` in sum, or the gradient.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]"))]
    fn set_offer(&mut self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_into("`x`", x, self.engine.lend().session.worker().offer())
    }

    /// The agreed model.
    #[getter]
    fn model(&mut self) -> Vector {
        Vector(self.engine.lend().session.worker().model().to_vec())
    }

    /// The model and buffers that an evaluation uses: a collective call. `gradient` is asked only where buffers are
    /// estimated anew.
    #[pyo3(signature = (gradient: "collections.abc.Callable[..., float] | None" = None))]
    fn evaluated(&mut self, py: Python<'_>, gradient: Option<Bound<'_, PyAny>>) -> PyResult<(Vector, Vector)> {
        let found = self.with_gradient(py, gradient, |engine| {
            engine.whole()?;
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

    /// What is offered: parameters, displacement or gradient.
    #[getter]
    fn payload(&mut self) -> &'static str {
        match self.engine.lend().session.worker().payload() {
            Payload::Parameters => "parameters",
            Payload::Displacement => "displacement",
            Payload::Gradient => "gradient",
        }
    }

    /// The recipe as it is carried out: every `auto` replaced.
    #[getter]
    fn recipe(&mut self) -> Recipe {
        Recipe { inner: self.engine.lend().recipe.clone() }
    }

    /// Training bytes that this rank sent.
    #[getter]
    fn bytes_sent(&mut self) -> u64 {
        let engine = self.engine.lend();
        let rank = engine.session.worker().rank();
        engine.session.metered(|meter| meter.ledger.sent_by(Party::Worker(rank))).unwrap_or(0)
    }

    /// Training bytes that this rank received.
    #[getter]
    fn bytes_received(&mut self) -> u64 {
        let engine = self.engine.lend();
        let rank = engine.session.worker().rank();
        engine.heard.lock().received_by(Party::Worker(rank))
    }

    /// What this rank (and the server or the clients that it plays) sent, by link and purpose: `from`, `to`, `purpose`,
    /// `messages`, `bytes`.
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

    /// Everything the session remembers, as bytes.
    fn save<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.act(py, |engine| {
            engine.between_rounds()?;
            sordino_lab::checkpoint::encode(&engine.session.save(&*engine.workload)?)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Takes back what `save` gave; what follows is what would have followed.
    #[pyo3(signature = (state: "bytes | bytearray | memoryview"))]
    fn load(&mut self, py: Python<'_>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut bytes = Vec::new();
        crate::arrays::bytes_into(state, &mut bytes)?;
        self.act(py, |engine| {
            let state = sordino_lab::checkpoint::decode("the state", &bytes)?;
            engine.session.load(&state, &mut *engine.workload)?;
            (engine.broken, engine.open) = (false, false);
            Ok(())
        })
    }
}

/// Replaces every `auto` of a recipe and refuses what cannot be.
fn settle(
    recipe: &mut sordino::recipe::Recipe,
    given: &Given,
    ranks: usize,
    steps: Option<u64>,
    own_optimizer: bool,
) -> Result<()> {
    let clients = if given.rows.is_empty() { 100 } else { given.rows.len() };
    recipe.resolve(&Recipe::defaults(None, 0.0, 32, clients, given.layout.len()))?;
    suits(recipe, own_optimizer)?;
    let clients = recipe.participation()?.clients(ranks) as u64;
    let rows: Vec<f32> = (0..clients).map(|client| given.rows(client) as f32).collect();
    if let Some(steps) = steps {
        recipe.solve(steps, ranks, &rows)?;
    }
    check(recipe)?;
    if !own_optimizer && recipe.choice("payload")?.name == "gradient" {
        // What is agreed is handed to the caller's optimizer as it is.
        recipe.set("optim=sgd(rate=1, momentum=0, schedule=constant)")?;
    }
    Ok(())
}

/// The session of the rank at `port`.
fn begin(
    recipe: &sordino::recipe::Recipe,
    given: Given,
    port: Box<dyn Port>,
    clock: Arc<dyn Clock>,
    seed: u64,
    steps: Option<u64>,
) -> Result<(engine::Session, Box<dyn Workload>)> {
    let workload = recipe.wrap(Box::new(given))?;
    let (mut session, workload) = engine::Session::join(recipe.build(clock)?, workload, port, seed, steps)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|e| Error::new(sordino::base::Kind::System, format!("the system gives no entropy: {e}")))?;
    session.worker().hide_with(key);
    Ok((session, workload))
}
