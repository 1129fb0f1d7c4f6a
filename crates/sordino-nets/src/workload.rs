//! Any Burn module as a workload.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Device;
use sordino::base::{Error, Layout, Result, Role, Stream, Use};
use sordino::workload::{self, Batch, Draw, EVALUATED_ROWS, Metrics, Part, Rows, Split, Start};

use crate::crossing::{ReadBuffers, ReadGradients, Slot, Survey, Write};
use crate::data::Data;
use crate::initial::{Rule, usual};
use crate::layered::Layering;
use crate::pass::{Outcome, Pass};
use crate::stage::Stage;

/// Rows of one forward pass in evaluation.
const EVALUATED_AT_ONCE: usize = 256;
/// Rows of one backward pass: larger batches are taken in parts, so that memory does not grow with them.
const TRAINED_AT_ONCE: usize = 1024;

type Loss<M, D> = Box<dyn Fn(&M, <D as Data>::Batch, &mut Pass) -> Outcome + Send>;

/// A Burn module, a loss and data as a training problem.
///
/// # What it does
/// Writes the flat parameters into its replica, runs the loss on the drawn rows, and reads the gradient back.
///
/// # Contract
/// The layout names tensors by their path in the module (`layers.0.weight`). Initial values are drawn anew from the
/// seed by a rule for each tensor: what the module was built with counts only for buffers and frozen tensors, which
/// keep it. Every parameter must receive a gradient; one that does not is an error that names it.
///
/// # When it hurts
/// A batch of more than 1024 rows is differentiated in parts. That changes nothing but memory, except for batch
/// normalisation, whose statistics are then those of each part.
pub struct Workload<M: Module, D: Data> {
    /// The replica; absent only while a walk rewrites it.
    module: Option<M>,
    loss: Loss<M, D>,
    data: D,
    rows: Rows,
    layout: Layout,
    slots: Vec<Slot>,
    buffers: Vec<f32>,
    rule: fn(&Slot) -> Rule,
    layering: Option<Layering<M, D>>,
    device: Device,
}

impl<M: Module, D: Data> Workload<M, D> {
    /// A workload with one client that holds all of `data`'s training rows, and that starts from the usual initial values.
    pub fn new(module: M, loss: impl Fn(&M, D::Batch, &mut Pass) -> Outcome + Send + 'static, data: D) -> Result<Self> {
        let device = module.devices().into_iter().next().unwrap_or_default().autodiff();
        // Running statistics are shared between clones of a module until it changes mode: this replica owns its own.
        let own = module.valid();
        drop(module);
        let module = own.train();
        let survey = Survey::of(&module)?;
        let layout = Layout::new(survey.slots.iter().map(|slot| slot.tensor.clone()));
        let rows = Rows::dealt(data.rows(Split::Train), 1);
        if layout.is_empty() || rows.len(0) == 0 {
            return Err(Error::request("a workload needs a module with parameters and data with training rows"));
        }
        Ok(Self {
            module: Some(module),
            loss: Box::new(loss),
            data,
            rows,
            layout,
            slots: survey.slots,
            buffers: survey.buffers,
            rule: usual,
            layering: None,
            device,
        })
    }

    /// The same workload with its rows dealt to clients, as a [`workload::Deal`] gives them.
    #[must_use]
    pub fn with_rows(mut self, rows: Rows) -> Self {
        self.rows = rows;
        self
    }

    /// The same workload with another rule for initial values.
    #[must_use]
    pub fn with_rule(mut self, rule: fn(&Slot) -> Rule) -> Self {
        self.rule = rule;
        self
    }

    /// The same workload, which can be cut between its layers.
    #[must_use]
    pub fn with_layering(mut self, layering: Layering<M, D>) -> Self {
        self.layering = Some(layering);
        self
    }

    /// The module with the given parameters and buffers, in training mode.
    fn load(&mut self, parameters: &[f32], buffers: &[f32]) -> Result<&M> {
        self.layout.expect("the parameter vector", parameters)?;
        if buffers.len() != self.layout.buffer_len() {
            return Err(Error::mismatch(format!(
                "the buffer vector has {} entries, but the layout has {}",
                buffers.len(),
                self.layout.buffer_len()
            )));
        }
        let module = self.module.take().ok_or_else(|| Error::request("an earlier call on this workload panicked"))?;
        Ok(self.module.insert(module.map(&mut Write { parameters, buffers, device: &self.device })))
    }

    /// The module with the given parameters and buffers, in evaluation mode.
    pub fn evaluated(&mut self, parameters: &[f32], buffers: &[f32]) -> Result<M> {
        Ok(self.load(parameters, buffers)?.valid())
    }

    /// The data it trains on.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Loss and gradient of one part of a batch, written over or added to `gradient` with weight `share`.
    fn part(&self, module: &M, rows: &[u32], pass: &mut Pass, share: Option<f32>, out: &mut [f32]) -> Result<f64> {
        let batch = self.data.batch(Split::Train, rows, &self.device);
        let loss = (self.loss)(module, batch, pass).loss;
        if !loss.is_tracked() {
            return Err(Error::request("the loss does not depend on the module: no parameter received a gradient"));
        }
        let mut read = ReadGradients { gradients: loss.backward(), out, add: share, met: 0, missing: None };
        module.visit(&mut read);
        if let Some((tensor, _)) = read.missing.and_then(|i| self.layout.tensors().nth(i)) {
            return Err(Error::request(format!(
                "parameter `{}` received no gradient: use it in the loss, or freeze it",
                tensor.name
            )));
        }
        Ok(f64::from(loss.into_scalar::<f32>()))
    }
}

impl<M: Module + 'static, D: Data + 'static> workload::Workload for Workload<M, D> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        let mut parameters = vec![0.0; self.layout.len()];
        let trained = self.slots.iter().filter(|slot| slot.tensor.role != Role::Buffer);
        for (index, (slot, range)) in trained.zip(self.layout.ranges()).enumerate() {
            let mut stream = Stream::new(seed, Use::Init, 0, index as u64);
            (self.rule)(slot).fill(&mut stream, &mut parameters[range.clone()]);
        }
        Start { parameters, buffers: self.buffers.clone() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, parameters: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        self.layout.expect("the gradient vector", gradient)?;
        let rows = self.rows.pick(draw)?.to_vec();
        if rows.is_empty() {
            gradient.fill(0.0);
            return Ok(0.0);
        }
        self.load(parameters, buffers)?;
        let Some(module) = &self.module else { unreachable!("just loaded") };
        let mut pass = Pass::training(draw.noise());
        let loss = if rows.len() <= TRAINED_AT_ONCE {
            self.part(module, &rows, &mut pass, None, gradient)?
        } else {
            gradient.fill(0.0);
            rows.chunks(TRAINED_AT_ONCE).try_fold(0.0, |loss, part| {
                let share = part.len() as f64 / rows.len() as f64;
                self.part(module, part, &mut pass, Some(share as f32), gradient).map(|l| loss + share * l)
            })?
        };
        if !buffers.is_empty() {
            // Leaving training mode is what makes running statistics take in their updates.
            module.valid().visit(&mut ReadBuffers { slots: self.slots.iter(), out: buffers });
        }
        Ok(loss)
    }

    fn loss(&mut self, parameters: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        let rows = self.rows.pick(draw)?.to_vec();
        self.load(parameters, buffers)?;
        let Some(module) = &self.module else { unreachable!("just loaded") };
        let mut pass = Pass::training(draw.noise());
        let mut loss = 0.0;
        for part in rows.chunks(TRAINED_AT_ONCE) {
            let batch = self.data.batch(Split::Train, part, &self.device);
            let mean = (self.loss)(module, batch, &mut pass).loss.into_scalar::<f32>();
            loss += f64::from(mean) * part.len() as f64 / rows.len() as f64;
        }
        if !buffers.is_empty() {
            // Running statistics that wait to be taken in would be taken in by the next pass.
            drop(module.valid());
        }
        Ok(loss)
    }

    fn parts(
        &mut self,
        parameters: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        self.layout.expect("the gradient vector", gradient)?;
        let rows = self.rows.pick(draw)?.to_vec();
        self.load(parameters, buffers)?;
        let Some(module) = &self.module else { unreachable!("just loaded") };
        let mut pass = Pass::training(draw.noise());
        for part in rows.chunks(most.clamp(1, TRAINED_AT_ONCE)) {
            let loss = self.part(module, part, &mut pass, None, gradient)?;
            each(gradient, part.len(), loss)?;
        }
        if !buffers.is_empty() {
            module.valid().visit(&mut ReadBuffers { slots: self.slots.iter(), out: buffers });
        }
        Ok(())
    }

    fn layers(&self) -> Vec<Vec<usize>> {
        let (Some(layering), Some(module)) = (&self.layering, &self.module) else { return Vec::new() };
        let under =
            |name: &str, path: &str| name.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('.'));
        let tensors = |paths: &Vec<String>| {
            let used = |name: &str| paths.iter().any(|path| under(name, path));
            self.layout.tensors().enumerate().filter(|(_, (t, _))| used(&t.name)).map(|(i, _)| i).collect()
        };
        (layering.layers)(module).iter().map(tensors).collect()
    }

    fn stage(&self, layers: Range<usize>) -> Result<Box<dyn workload::Stage>> {
        let (Some(layering), Some(module)) = (self.layering, self.module.clone()) else {
            return Err(Error::request(
                "this network does not say how it runs layer by layer, so it cannot be cut into blocks; set \
                 placement=replicate, or implement Layered for it",
            ));
        };
        let (data, rows, uses) = ((layering.copy)(&self.data), self.rows.clone(), self.layers());
        let whole = (&self.layout, &self.device);
        Ok(Box::new(Stage::new(module, layering, (layers, &uses), data, rows, whole)?))
    }

    fn evaluate_client(&mut self, parameters: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        let limit = EVALUATED_ROWS.div_ceil(self.data.examples());
        let draw = Draw { seed: 0, client, step: 0, batch: Batch::Full };
        let rows: Vec<u32> = self.rows.pick(&draw)?.iter().take(limit).copied().collect();
        self.metrics(parameters, buffers, Split::Train, &rows)
    }

    fn evaluate(&mut self, parameters: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        let rows: Vec<u32> = match split {
            Split::Train => self.data.looked_at(EVALUATED_ROWS.div_ceil(self.data.examples())),
            Split::Test => (0..self.data.rows(split) as u32).collect(),
        };
        self.metrics(parameters, buffers, split, &rows)
    }
}

impl<M: Module, D: Data> Workload<M, D> {
    /// Loss and accuracy over some rows, in evaluation mode.
    fn metrics(&mut self, parameters: &[f32], buffers: &[f32], split: Split, rows: &[u32]) -> Result<Option<Metrics>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let module = self.evaluated(parameters, buffers)?;
        let device = self.device.clone().inner();
        let (mut loss, mut right, mut answers, mut examples) = (0.0, 0, 0, 0);
        for part in rows.chunks(EVALUATED_AT_ONCE) {
            let outcome = (self.loss)(&module, self.data.batch(split, part, &device), &mut Pass::evaluation());
            let mean = f64::from(outcome.loss.clone().into_scalar::<f32>());
            let found = outcome.right();
            let n = found.map_or(part.len(), |(n, _)| n);
            examples += n;
            loss += mean * n as f64;
            if let Some((n, r)) = found {
                answers += n;
                right += r;
            }
        }
        let accuracy = (answers > 0).then(|| right as f64 / answers as f64);
        Ok(Some(Metrics { loss: loss / examples as f64, accuracy, examples }))
    }
}
