//! Communication-efficient distributed training: workers that talk little.
//!
//! Every published method is one row of choices along shared axes. An axis is a folder here, an element of it a file, and
//! a [`recipe::Recipe`] one choice per axis. The [`engine`] carries a recipe out, round after round, over any
//! [`fabric::Port`]; below it nothing reads a clock, a file or a socket, so a run is a function of its recipe.
//!
//! A method is chosen by name, any choice of it changed, and what does not fit together is refused with a cure:
//!
//! ```
//! use sordino::recipe::{Defaults, Recipe, check};
//!
//! let mut recipe = Recipe::named("qsr")?;
//! recipe.set("compress=orq(9)")?;
//! recipe.set("feedback=residual")?;
//! recipe.resolve(&Defaults::default())?;
//! check(&recipe)?;
//! assert_eq!(recipe.choice("exchange")?.to_string(), "gather");
//!
//! recipe.set("exchange=reduce")?;
//! let refusal = check(&recipe).unwrap_err().to_string();
//! assert!(refusal.contains("use exchange=gather"), "{refusal}");
//! # Ok::<(), sordino::Error>(())
//! ```
//!
//! Elements work by themselves too, here a compressor:
//!
//! ```
//! use sordino::base::{Layout, Reader, Stream, Use, Writer};
//! use sordino::compress::{self, Coding};
//! use sordino::grammar::Element;
//!
//! let mut topk = compress::build(&Element::parse("topk(0.25)")?)?;
//! let (layout, stream) = (Layout::vector(4), Stream::new(0, Use::Encode, 0, 0));
//! let coding = Coding { layout: &layout, stream: &stream, shared: &stream };
//! let mut body = Writer::new();
//! topk.encode(&[0.5, -3.0, 1.0, 2.0], &coding, &mut body)?;
//! let mut said = [0.0; 4];
//! topk.decode(&mut Reader::new(body.bytes()), &layout, &mut said)?;
//! assert_eq!(said, [0.0, -3.0, 0.0, 0.0]);
//! assert_eq!(body.bytes().len(), 5); // one f32 and one index of 2 bits
//! # Ok::<(), sordino::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod base;
pub mod buffers;
pub mod compress;
pub mod engine;
pub mod estimate;
pub mod exchange;
pub mod fabric;
pub mod feedback;
pub mod grammar;
pub mod local;
pub mod optim;
pub mod participation;
pub mod payload;
pub mod placement;
pub mod privacy;
pub mod recipe;
pub mod schedule;
pub mod staleness;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topology;
pub mod workload;

pub use base::{Error, Result};
