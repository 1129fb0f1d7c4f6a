//! Layers of a network as a stage of a pipeline.

use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use sordino::base::{Error, Layout, Result};
use sordino::workload::{self, Back, Flow, Piece, Rows, Split};

use crate::crossing::{ReadGradients, Write};
use crate::data::Data;
use crate::layered::{Gave, Layering};
use crate::pass::Pass;

/// The walk that takes the values of other stages' tensors away.
struct Empty<'a> {
    own: &'a [usize],
    device: &'a Device,
    at: usize,
}

impl ModuleMapper for Empty<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        let own = self.own.binary_search(&self.at).is_ok();
        self.at += 1;
        if own { param } else { param.map(|_| Tensor::zeros([1; D], self.device)).set_require_grad(false) }
    }
}

/// A forward pass that was kept, with the parameters it was made at.
struct Kept<M> {
    piece: Piece,
    module: M,
    told: Option<Tensor<2>>,
    gave: Gave,
}

/// Some of the layers of a network, with a replica that holds these alone.
pub(crate) struct Stage<M: Module, D: Data> {
    module: Option<M>,
    layering: Layering<M, D>,
    layers: Range<usize>,
    /// Of how many.
    of: usize,
    data: D,
    rows: Rows,
    layout: Layout,
    device: Device,
    /// Whether the replica has been given parameters.
    loaded: bool,
    kept: Vec<Kept<M>>,
}

impl<M: Module, D: Data> Stage<M, D> {
    /// The layers of a range: `uses` holds the tensors of every layer, by their positions in the layout of the whole.
    pub fn new(
        module: M,
        layering: Layering<M, D>,
        (layers, uses): (Range<usize>, &[Vec<usize>]),
        data: D,
        rows: Rows,
        (whole, device): (&Layout, &Device),
    ) -> Result<Self> {
        if layers.is_empty() || layers.end > uses.len() {
            let (Range { start, end }, of) = (layers, uses.len());
            return Err(Error::request(format!("a network of {of} layers has no block {start}..{end}")));
        }
        if whole.buffer_len() > 0 {
            return Err(Error::request(
                "a network with running statistics, or with frozen tensors, is not cut into blocks; take one without batch \
                 normalisation, or set placement=replicate",
            ));
        }
        let mut own = uses[layers.clone()].concat();
        own.sort_unstable();
        own.dedup();
        let module = module.map(&mut Empty { own: &own, device, at: 0 });
        Ok(Self {
            module: Some(module),
            layering,
            layers,
            of: uses.len(),
            data,
            rows,
            layout: whole.part(&own),
            device: device.clone(),
            loaded: false,
            kept: Vec::new(),
        })
    }

    fn is_first(&self) -> bool {
        self.layers.start == 0
    }

    fn told(&self, input: &Flow, rows: usize) -> Result<Option<Tensor<2>>> {
        if self.is_first() {
            return Ok(None);
        }
        if rows == 0 || !input.values.len().is_multiple_of(rows) || input.rows != rows {
            return Err(Error::mismatch(format!(
                "layers {}..{} were told {} numbers of {} rows, and the batch has {rows}",
                self.layers.start,
                self.layers.end,
                input.values.len(),
                input.rows
            )));
        }
        let shape = [rows, input.values.len() / rows];
        Ok(Some(Tensor::from_data(TensorData::new(input.values.clone(), shape), &self.device)))
    }
}

fn values(x: Tensor<2>) -> Result<Vec<f32>> {
    x.into_data().try_into_vec().map_err(|e| Error::data(format!("activations are no f32: {e:?}")))
}

impl<M: Module, D: Data> workload::Stage for Stage<M, D> {
    fn load(&mut self, parameters: &[f32]) -> Result<()> {
        self.layout.expect("the parameter vector of a block", parameters)?;
        let module = self.module.take().ok_or_else(|| Error::request("an earlier call on this block panicked"))?;
        self.module = Some(module.map(&mut Write { parameters, buffers: &[], device: &self.device }));
        self.loaded = true;
        Ok(())
    }

    fn forward(&mut self, piece: &Piece, input: &Flow, keep: bool) -> Result<Flow> {
        let module = self.module.as_ref().filter(|_| self.loaded).ok_or_else(|| {
            let Range { start, end } = self.layers;
            Error::request(format!("layers {start}..{end} were given no parameters; load them before the first pass"))
        })?;
        let rows = self.rows.pick(&piece.draw)?;
        let rows = rows[piece.rows(rows.len())].to_vec();
        let mut noise = piece.noise(input.noise);
        if rows.is_empty() {
            self.kept.retain(|kept| kept.piece != *piece);
            return Ok(Flow { values: Vec::new(), rows: 0, noise: noise.cursor() });
        }
        // Untracked, but by the same kernels: what passes by and what is kept must be the same bits.
        let module = if keep { module.clone() } else { module.clone().set_require_grad(false) };
        let told = self.told(input, rows.len())?.map(|x| if keep { x.require_grad() } else { x });
        let ends = self.is_first() || self.layers.end == self.of;
        let batch = ends.then(|| self.data.batch(Split::Train, &rows, &self.device));
        let mut pass = Pass::training(noise.clone());
        let gave = (self.layering.run)(&module, self.layers.clone(), told.clone(), batch, &mut pass)
            .ok_or_else(|| Error::request("a network of no layers gives nothing"))?;
        if let Some(drawn) = pass.noise() {
            noise = drawn.clone();
        }
        let values = match &gave {
            Gave::Activations(x) => values(x.clone())?,
            Gave::Outcome(_) => Vec::new(),
        };
        if keep {
            self.kept.retain(|kept| kept.piece != *piece);
            self.kept.push(Kept { piece: *piece, module, told, gave });
        }
        Ok(Flow { values, rows: rows.len(), noise: noise.cursor() })
    }

    fn backward(&mut self, piece: &Piece, error: &[f32], gradient: &mut [f32]) -> Result<Back> {
        self.layout.expect("the gradient vector of a block", gradient)?;
        let last = self.layers.end == self.of;
        let Some(at) = self.kept.iter().position(|kept| kept.piece == *piece) else {
            let rows = self.rows.pick(&piece.draw)?;
            if piece.rows(rows.len()).is_empty() {
                gradient.fill(0.0);
                return Ok(Back { error: Vec::new(), loss: last.then_some(0.0) });
            }
            let batch = piece.draw.step;
            return Err(Error::mismatch(format!("no forward pass of batch {batch} was kept, so there is no way back")));
        };
        let Kept { module, told, gave, .. } = self.kept.remove(at);
        let (scalar, loss) = match gave {
            Gave::Outcome(outcome) => {
                let loss = outcome.into_loss();
                let value = f64::from(loss.clone().into_scalar::<f32>());
                (loss, Some(value))
            }
            Gave::Activations(x) => {
                let shape = x.dims();
                if shape[0] * shape[1] != error.len() {
                    return Err(Error::mismatch(format!(
                        "layers {}..{} gave {} numbers and heard {} errors",
                        self.layers.start,
                        self.layers.end,
                        shape[0] * shape[1],
                        error.len()
                    )));
                }
                // The gradient of this sum by what was given is the error, bit for bit.
                let device = self.device.clone().inner();
                let error = Tensor::<2>::from_data(TensorData::new(error.to_vec(), shape), &device);
                ((x * Tensor::from_inner(error)).sum(), None)
            }
        };
        if !scalar.is_tracked() {
            return Err(Error::request("a block's output does not depend on its parameters: no gradient was found"));
        }
        let mut gradients = scalar.backward();
        let error = match told {
            Some(told) => match told.grad_remove(&mut gradients) {
                Some(error) => values(error)?,
                None => return Err(Error::request("a block's output does not depend on what it was told")),
            },
            None => Vec::new(),
        };
        let mut read = ReadGradients { gradients, out: gradient, add: None, met: 0, missing: None };
        module.visit(&mut read);
        match read.missing.and_then(|i| self.layout.tensors().nth(i)) {
            Some((tensor, _)) => Err(Error::request(format!(
                "parameter `{}` received no gradient: its layer does not use it, or names it wrongly",
                tensor.name
            ))),
            None => Ok(Back { error, loss }),
        }
    }
}
