//! Networks as layers that follow one another: one way to run them, whole or cut.

use std::ops::Range;

use burn::tensor::{Int, Tensor};

use crate::data::Data;
use crate::pass::{Outcome, Pass};
use crate::task::Model;

/// What a layer is told.
#[derive(Debug)]
pub enum Told<I> {
    /// The first layer: the batch's inputs.
    Inputs(I),
    /// The others: what the layer before gave, a line for each row.
    Activations(Tensor<2>),
}

impl<I> Told<I> {
    /// What the layer before gave; nothing on the first layer.
    pub fn activations(self) -> Option<Tensor<2>> {
        match self {
            Self::Inputs(_) => None,
            Self::Activations(x) => Some(x),
        }
    }
}

/// A model that classifies by layers that follow one another, so that it can be cut between any two of them.
///
/// # Contract
/// [`Layered::layer`] uses the tensors that [`Layered::layers`] names for it and no others: in a block of the network
/// the others have no values. It gives a line for each row, except for the last layer, which gives logits, a line for
/// each answer. Whole and cut run the same code, so they give the same bits.
pub trait Layered: Model {
    /// What the first layer is told.
    type Inputs;

    /// For every layer the paths of the tensors, or of the parts of the module, that it uses.
    fn layers(module: &Self::Module) -> Vec<Vec<String>>;

    /// A batch as inputs and right answers.
    fn open(batch: <Self::Data as Data>::Batch) -> (Self::Inputs, Tensor<1, Int>);

    /// Layer `at`.
    fn layer(module: &Self::Module, at: usize, told: Told<Self::Inputs>, pass: &mut Pass) -> Tensor<2>;

    /// Logits of the whole network.
    fn logits(module: &Self::Module, inputs: Self::Inputs, pass: &mut Pass) -> Tensor<2> {
        let layers = Self::layers(module).len();
        let x = Self::layer(module, 0, Told::Inputs(inputs), pass);
        (1..layers).fold(x, |x, at| Self::layer(module, at, Told::Activations(x), pass))
    }

    /// The loss of the whole network: what [`Model::outcome`] of a layered model is.
    fn whole(module: &Self::Module, batch: <Self::Data as Data>::Batch, pass: &mut Pass) -> Outcome {
        let (inputs, answers) = Self::open(batch);
        Outcome::classes(Self::logits(module, inputs, pass), answers)
    }
}

/// What some layers give.
pub(crate) enum Gave {
    /// What the next layer is told.
    Activations(Tensor<2>),
    /// The loss.
    Outcome(Outcome),
}

type Run<M, D> = fn(&M, Range<usize>, Option<Tensor<2>>, Option<<D as Data>::Batch>, &mut Pass) -> Option<Gave>;

/// How the layers of a model are run, whoever the model is.
pub struct Layering<M, D: Data> {
    pub(crate) layers: fn(&M) -> Vec<Vec<String>>,
    /// Some of the layers, from what was told before or from the batch, which the last layer needs as well.
    pub(crate) run: Run<M, D>,
    pub(crate) copy: fn(&D) -> D,
}

impl<M, D: Data> Clone for Layering<M, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, D: Data> Copy for Layering<M, D> {}

impl<M, D: Data> Layering<M, D> {
    /// That of a layered model.
    pub fn of<C: Layered<Module = M, Data = D>>() -> Self
    where
        D: Clone,
    {
        Self { layers: C::layers, run: run::<C>, copy: Clone::clone }
    }
}

fn run<C: Layered>(
    module: &C::Module,
    layers: Range<usize>,
    told: Option<Tensor<2>>,
    batch: Option<<C::Data as Data>::Batch>,
    pass: &mut Pass,
) -> Option<Gave> {
    let last = layers.end == C::layers(module).len();
    let (inputs, answers) = batch.map(C::open).unzip();
    let mut told = match told {
        Some(x) => Told::Activations(x),
        None => Told::Inputs(inputs?),
    };
    for at in layers {
        told = Told::Activations(C::layer(module, at, told, pass));
    }
    let x = told.activations()?;
    Some(if last { Gave::Outcome(Outcome::classes(x, answers?)) } else { Gave::Activations(x) })
}
