//! Neural-network workloads on Burn: an MLP, a small CNN, ResNet-20, an LSTM and a Transformer over characters, and
//! whatever Burn module a caller brings.
//!
//! A [`Model`] is a configuration that builds its module and says how a batch becomes a loss; [`Model::task`] joins it
//! with data and a deal. [`Workload::new`] makes a workload of any Burn module without one. Data arrive as plain
//! arrays ([`ImageData`], [`Text`]) shared between workers, or as anything that implements [`Data`].
//!
//! ```
//! use sordino::workload::{Batch, Deal, Draw, Task as _, Workload as _};
//! use sordino_nets::{ImageData, Images, Mlp, Model as _};
//!
//! # fn main() -> sordino::Result<()> {
//! let four = Images {
//!     pixels: vec![-1.0, -0.9, 1.0, 0.9].into(),
//!     labels: vec![0, 0, 1, 1].into(),
//!     channels: 1,
//!     height: 1,
//!     width: 1,
//!     classes: 2,
//! };
//! let model = Mlp { hidden: vec![3], ..Mlp::default() };
//! let task = model.task("four-pixels", ImageData::new(four.clone(), four)?, Deal::Iid);
//! let mut worker = task.workload(2, 7)?;
//!
//! let start = worker.start(7);
//! let mut gradient = vec![0.0; worker.layout().len()];
//! let draw = Draw { seed: 7, client: 0, step: 0, batch: Batch::Rows(2) };
//! let loss = worker.gradient(&start.parameters, &mut [], &draw, &mut gradient)?;
//! assert!(loss > 0.0 && gradient.iter().any(|g| *g != 0.0));
//! # Ok(())
//! # }
//! ```
//!
//! One worker is one thread with one replica. The CPU backend is `flex` on one thread; the features `cuda` and `wgpu`
//! compile another in, which is then the one used. A program that trains on the CPU does well to choose its allocator:
//! with glibc's, a step of a small network takes nearly twice as long as with mimalloc.

#![forbid(unsafe_code)]

mod crossing;
mod data;
mod initial;
mod layered;
mod models;
mod pass;
mod sample;
mod stage;
mod task;
mod workload;

pub use burn;
pub use crossing::Slot;
pub use data::{Data, Hash, ImageBatch, ImageData, Images, Text, TextBatch};
pub use initial::{Rule, kaiming, usual};
pub use layered::{Layered, Layering, Told};
pub use models::{CharLstm, CharTransformer, Cnn, Mlp, ResNet20};
pub use pass::{Outcome, Pass};
pub use sample::Sample;
pub use task::{Model, Task};
pub use workload::Workload;

#[cfg(test)]
mod tests;
