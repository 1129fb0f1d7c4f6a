//! Neural-network workloads on Burn: an MLP, a small CNN, ResNet-20, an LSTM and a Transformer over characters, and
//! whatever Burn module a caller brings.
//!
//! A [`Model`] is a configuration that builds its module and says how a batch becomes a loss; [`Model::task`] joins it
//! with data and a deal. [`Workload::new`] makes a workload of any Burn module without one. Data arrive as plain
//! arrays ([`ImageData`], [`Text`]) shared between workers, or as anything that implements [`Data`].
//!
//! One worker is one thread with one replica. The CPU backend is `flex` on one thread; the features `cuda` and `wgpu`
//! compile another in, which is then the one used.

#![forbid(unsafe_code)]

mod crossing;
mod data;
mod initial;
mod models;
mod pass;
mod sample;
mod task;
mod workload;

pub use burn;
pub use crossing::Slot;
pub use data::{Data, Hash, ImageBatch, ImageData, Images, Text, TextBatch};
pub use initial::{Rule, kaiming, usual};
pub use models::{CharLstm, CharTransformer, Cnn, Mlp, ResNet20};
pub use pass::{Outcome, Pass};
pub use sample::Sample;
pub use task::{Model, Task};
pub use workload::Workload;

#[cfg(test)]
mod tests;
