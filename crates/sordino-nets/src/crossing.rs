//! How flat vectors cross into a Burn module and gradients cross back, in one copy each way.
//!
//! All three walks visit a module's tensors in the order of its fields, which is the order of the layout. A tensor
//! that requires no gradient (a frozen one, or a running statistic) is a buffer.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use sordino::base::{self, Error, Result, Role};

/// One tensor of a module, as the rules for initial values see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its path, shape and role.
    pub tensor: base::Tensor,
    /// The module type that holds it, such as `Linear`.
    pub container: String,
}

impl Slot {
    /// The last part of its path.
    pub fn leaf(&self) -> &str {
        self.tensor.name.rsplit('.').next().unwrap_or_default()
    }

    /// How many inputs one output sees: the last dimensions of a convolution's kernel, the first of a matrix.
    pub fn fan_in(&self) -> usize {
        match self.tensor.shape.as_slice() {
            [rows, _] => *rows,
            [_, rest @ ..] => rest.iter().product::<usize>().max(1),
            [] => 1,
        }
    }
}

/// The walk that finds a module's tensors.
#[derive(Default)]
pub(crate) struct Survey {
    pub slots: Vec<Slot>,
    /// The buffers' values.
    pub buffers: Vec<f32>,
    path: Vec<String>,
    containers: Vec<String>,
    seen: Vec<ParamId>,
    fault: Option<Error>,
}

impl Survey {
    /// The tensors of `module`, or an error when it uses one under two names.
    pub fn of<M: Module>(module: &M) -> Result<Self> {
        let mut survey = Self::default();
        module.visit(&mut survey);
        match survey.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(survey),
        }
    }
}

impl ModuleVisitor for Survey {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.to_owned());
        self.containers.push(container.trim_start_matches("Struct:").to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let container = self.containers.iter().rev().find(|c| !["Vec", "Array", "Tuple"].contains(&c.as_str()));
        let container = container.cloned().unwrap_or_default();
        let role = match D {
            _ if !param.is_require_grad() => Role::Buffer,
            _ if container.contains("Norm") => Role::Norm,
            1 => Role::Bias,
            _ => Role::Weight,
        };
        if self.seen.contains(&param.id) {
            self.fault.get_or_insert(Error::request(format!(
                "`{name}` is a parameter that the module also holds under another name: hold it once and use it twice"
            )));
        }
        self.seen.push(param.id);
        if role == Role::Buffer
            && let Ok(values) = param.val().into_data().as_slice::<f32>()
        {
            self.buffers.extend_from_slice(values);
        }
        self.slots.push(Slot { tensor: base::Tensor::new(name, &param.dims(), role), container });
    }
}

/// The walk that puts flat vectors into a module.
pub(crate) struct Write<'a> {
    pub parameters: &'a [f32],
    pub buffers: &'a [f32],
    pub device: &'a Device,
}

impl ModuleMapper for Write<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.is_require_grad();
        // In a block of a network the tensors of other blocks are frozen, and nobody has values for them.
        if !trained && self.buffers.is_empty() {
            return param;
        }
        let source = if trained { &mut self.parameters } else { &mut self.buffers };
        let device = self.device;
        param.map(|old| {
            let shape = old.shape();
            drop(old);
            let (values, rest) = source.split_at(shape.num_elements());
            *source = rest;
            Tensor::from_data(TensorData::new(values.to_vec(), shape), device).set_require_grad(trained)
        })
    }
}

/// The walk that takes gradients out, in the order of the layout.
pub(crate) struct ReadGradients<'a> {
    pub gradients: Gradients,
    pub out: &'a mut [f32],
    /// Add this multiple of the gradient instead of overwriting.
    pub add: Option<f32>,
    /// How many parameter tensors were met.
    pub met: usize,
    /// The first of them without a gradient.
    pub missing: Option<usize>,
}

impl ModuleVisitor for ReadGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let out = std::mem::take(&mut self.out);
        let (here, rest) = out.split_at_mut(param.shape().num_elements());
        self.out = rest;
        let gradient = param.val().grad_remove(&mut self.gradients).and_then(|g| g.try_into_data().ok());
        match gradient.as_ref().map(TensorData::as_slice::<f32>) {
            Some(Ok(values)) if values.len() == here.len() => match self.add {
                None => here.copy_from_slice(values),
                Some(share) => base::flat::add_scaled(here, share, values),
            },
            _ => self.missing = self.missing.or(Some(self.met)),
        }
        self.met += 1;
    }
}

/// The walk that takes buffers out of a module in evaluation mode, in which no tensor requires a gradient.
pub(crate) struct ReadBuffers<'a> {
    pub slots: std::slice::Iter<'a, Slot>,
    pub out: &'a mut [f32],
}

impl ModuleVisitor for ReadBuffers<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.slots.next().is_none_or(|slot| slot.tensor.role != Role::Buffer) {
            return;
        }
        let out = std::mem::take(&mut self.out);
        let (here, rest) = out.split_at_mut(param.shape().num_elements());
        self.out = rest;
        if let Ok(values) = param.val().into_data().as_slice::<f32>() {
            here.copy_from_slice(values);
        }
    }
}
