//! A model's configuration joined with data: a task that deals workloads to workers.

use std::fmt;

use burn::module::Module;
use burn::tensor::Device;
use sordino::base::Result;
use sordino::workload::{self, Deal, Split};

use crate::crossing::Slot;
use crate::data::{Data, Hash};
use crate::initial::{Rule, usual};
use crate::layered::Layering;
use crate::pass::{Outcome, Pass};
use crate::workload::Workload;

/// A configuration of a network.
///
/// # Contract
/// [`Model::build`] gives a module of the same shape for the same data. [`Model::outcome`] draws nothing at random but
/// from the pass.
pub trait Model: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its Burn module.
    type Module: Module + 'static;
    /// What it learns from.
    type Data: Data + Clone + Sync + 'static;

    /// A module for these data; an error where the two do not fit.
    fn build(&self, data: &Self::Data, device: &Device) -> Result<Self::Module>;

    /// The loss of one batch.
    fn outcome(module: &Self::Module, batch: <Self::Data as Data>::Batch, pass: &mut Pass) -> Outcome;

    /// How one tensor begins.
    fn rule(slot: &Slot) -> Rule {
        usual(slot)
    }

    /// How it runs layer by layer, if it can be cut into blocks: `Some(Layering::of::<Self>())` of a layered model.
    fn layering() -> Option<Layering<Self::Module, Self::Data>> {
        None
    }

    /// A workload that holds all rows of `data`.
    fn workload(&self, data: Self::Data) -> Result<Workload<Self::Module, Self::Data>> {
        let module = self.build(&data, &Device::default().autodiff())?;
        let workload = Workload::new(module, Self::outcome, data)?.with_rule(Self::rule);
        Ok(match Self::layering() {
            Some(layering) => workload.with_layering(layering),
            None => workload,
        })
    }

    /// A task of this model on `data`, dealt as told.
    fn task(self, name: impl Into<String>, data: Self::Data, deal: Deal) -> Task<Self> {
        let hash = Hash::default().bytes(format!("{self:?}").as_bytes()).words([data.fingerprint()]);
        Task { name: name.into(), fingerprint: hash.finish(), model: self, data, deal }
    }
}

/// A model, its data and how they are dealt.
#[derive(Clone, Debug)]
pub struct Task<C: Model> {
    name: String,
    fingerprint: u64,
    model: C,
    data: C::Data,
    deal: Deal,
}

impl<C: Model> Task<C> {
    /// The model's configuration.
    pub fn model(&self) -> &C {
        &self.model
    }

    /// The data.
    pub fn data(&self) -> &C::Data {
        &self.data
    }
}

impl<C: Model> workload::Task for Task<C> {
    fn name(&self) -> &str {
        &self.name
    }

    fn workload(&self, clients: usize, _seed: u64) -> Result<Box<dyn workload::Workload>> {
        let rows = self.deal.rows(workload::Task::rows(self), clients)?;
        Ok(Box::new(self.model.workload(self.data.clone())?.with_rows(rows)))
    }

    fn layers(&self) -> Result<usize> {
        match C::layering() {
            None => Ok(0),
            Some(layering) => {
                let module = self.model.build(&self.data, &Device::default())?;
                Ok((layering.layers)(&module).len())
            }
        }
    }

    fn rows(&self) -> usize {
        self.data.rows(Split::Train)
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
