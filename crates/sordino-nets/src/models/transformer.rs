//! A decoder-only Transformer over characters.
//!
//! # The step
//! x = embedding(c) + positions; x ← x + attention(norm(x)); x ← x + W′·max(0, W·norm(x)), layer after layer;
//! logits = norm(x)·embeddingᵀ
//!
//! # When it helps, when it hurts
//! Needs an adaptive optimizer: plain steps stay near what pairs of characters tell for a long time.
//!
//! # Reference
//! Vaswani et al.: Attention Is All You Need, 2017; normalised before each part, as in GPT-2 (Radford et al. 2019).
//!
//! # Deviations from the paper
//! Learned positions; no scaling of the embedding.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor};
use sordino::base::{Error, Result};

use super::linear;
use crate::crossing::Slot;
use crate::data::{Text, TextBatch};
use crate::initial::{Rule, usual};
use crate::layered::{Layered, Layering, Told};
use crate::pass::{Outcome, Pass};
use crate::sample::Sample;
use crate::task::Model;

/// Causal self-attention and feed-forward layers, learned positions, and the embedding again as the output.
#[derive(Clone, Debug, PartialEq)]
pub struct CharTransformer {
    /// How many layers. Default: 2.
    pub layers: usize,
    /// Width of a position's vector. Default: 64.
    pub width: usize,
    /// Attention heads; they divide the width. Default: 4.
    pub heads: usize,
    /// Probability that an entry is left out after attention and after the feed-forward part. Default: 0.
    pub dropout: f64,
}

impl Default for CharTransformer {
    fn default() -> Self {
        Self { layers: 2, width: 64, heads: 4, dropout: 0.0 }
    }
}

#[derive(Module, Debug)]
struct Layer {
    before_attention: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    join: Linear,
    before_feed: LayerNorm,
    widen: Linear,
    narrow: Linear,
    heads: usize,
    dropout: f64,
}

impl Layer {
    fn new(config: &CharTransformer, device: &Device) -> Self {
        let width = config.width;
        let square = || linear(width, width, device);
        Self {
            before_attention: LayerNormConfig::new(width).init(device),
            query: square(),
            key: square(),
            value: square(),
            join: square(),
            before_feed: LayerNormConfig::new(width).init(device),
            widen: linear(width, 4 * width, device),
            narrow: linear(4 * width, width, device),
            heads: config.heads,
            dropout: config.dropout,
        }
    }

    fn forward(&self, x: Tensor<3>, pass: &mut Pass) -> Tensor<3> {
        let attended = self.attend(self.before_attention.forward(x.clone()));
        let x = x + pass.dropout(attended, self.dropout);
        let fed = self.narrow.forward(relu(self.widen.forward(self.before_feed.forward(x.clone()))));
        x + pass.dropout(fed, self.dropout)
    }

    /// softmax(Q·Kᵀ / √(width of a head)) · V over what is not in the future, joined over heads.
    fn attend(&self, x: Tensor<3>) -> Tensor<3> {
        let [n, length, width] = x.dims();
        let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &x.device())
            .reshape([1, 1, length, length])
            .expand([n, self.heads, length, length]);
        let size = width / self.heads;
        let split = |x: Tensor<3>| x.reshape([n, length, self.heads, size]).swap_dims(1, 2);
        let query = split(self.query.forward(x.clone()) / (size as f32).sqrt());
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x));
        let scores = query.matmul(key.transpose()).mask_fill(future, f32::NEG_INFINITY);
        let joined = softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([n, length, width]);
        self.join.forward(joined)
    }
}

/// The network of a [`CharTransformer`].
#[derive(Module, Debug)]
pub struct Decoder {
    embedding: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: LayerNorm,
    width: usize,
}

impl Model for CharTransformer {
    type Module = Decoder;
    type Data = Text;

    fn build(&self, data: &Text, device: &Device) -> Result<Decoder> {
        let width = self.width;
        if self.heads == 0 || width == 0 || !width.is_multiple_of(self.heads) {
            return Err(Error::request(format!("{} heads do not divide a width of {width}", self.heads)));
        }
        let zeros = |rows: usize| Param::from_tensor(Tensor::zeros([rows, width], device));
        Ok(Decoder {
            embedding: zeros(data.symbols().len()),
            positions: zeros(data.window()),
            layers: (0..self.layers).map(|_| Layer::new(self, device)).collect(),
            norm: LayerNormConfig::new(width).init(device),
            width,
        })
    }

    fn outcome(module: &Decoder, batch: TextBatch, pass: &mut Pass) -> Outcome {
        Self::whole(module, batch, pass)
    }

    fn layering() -> Option<Layering<Decoder, Text>> {
        Some(Layering::of::<Self>())
    }

    fn rule(slot: &Slot) -> Rule {
        match (slot.leaf(), slot.tensor.shape.as_slice()) {
            // A normalised vector then meets the embedding, as the output, in logits of about 1.
            ("embedding" | "positions", [_, width]) => Rule::Normal(1.0 / (*width as f32).sqrt()),
            _ => usual(slot),
        }
    }
}

impl Sample for CharTransformer {
    fn logits(module: &Decoder, codes: Tensor<2, Int>, pass: &mut Pass) -> Tensor<2> {
        <Self as Layered>::logits(module, codes, pass)
    }
}

impl Layered for CharTransformer {
    type Inputs = Tensor<2, Int>;

    /// Embedding and positions, the layers, and the output, which uses the embedding again.
    fn layers(module: &Decoder) -> Vec<Vec<String>> {
        let first = ["embedding", "positions"].map(str::to_owned).to_vec();
        let middle = (0..module.layers.len()).map(|at| vec![format!("layers.{at}")]);
        let last = ["norm", "embedding"].map(str::to_owned).to_vec();
        std::iter::once(first).chain(middle).chain([last]).collect()
    }

    fn open(batch: TextBatch) -> (Tensor<2, Int>, Tensor<1, Int>) {
        (batch.codes, batch.answers)
    }

    fn layer(module: &Decoder, at: usize, told: Told<Tensor<2, Int>>, pass: &mut Pass) -> Tensor<2> {
        let x = match told {
            Told::Inputs(codes) => {
                let [n, length] = codes.dims();
                let embedding = module.embedding.val();
                let width = embedding.dims()[1];
                let found = embedding.select(0, codes.reshape([n * length])).reshape([n, length, width]);
                return (found + module.positions.val().narrow(0, 0, length).unsqueeze()).reshape([n, length * width]);
            }
            Told::Activations(x) => x,
        };
        let ([n, numbers], width) = (x.dims(), module.width);
        let x = x.reshape([n, numbers / width, width]);
        match module.layers.get(at - 1) {
            Some(layer) => layer.forward(x, pass).reshape([n, numbers]),
            None => {
                let x = module.norm.forward(x).reshape([n * numbers / width, width]);
                x.matmul(module.embedding.val().transpose())
            }
        }
    }
}
