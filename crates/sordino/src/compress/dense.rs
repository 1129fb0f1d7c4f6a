//! Dense: the vector itself, 4 bytes an entry.
//!
//! # What it does
//! Sends every entry as it is.
//!
//! # The step
//! ```text
//! C(v) = v
//! ```
//! # Contract
//! Lossless and linear; 4d bytes.
//!
//! # When it helps, when it hurts
//! The neutral element. Right where the link is fast or the schedule is already silent enough.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::{Add, Class, Coding, Compressor, Linear, Sink as _};
use crate::base::{Layout, Reader, Result, Writer};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> =
    Entry { name: "dense", about: "every entry as it is, 32 bits each", keys: &[], build: |_| Ok(Box::new(Dense)) };

/// The neutral compressor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dense;

impl Compressor for Dense {
    fn class(&self, _: &Layout) -> Class {
        Class::Lossless
    }

    fn bound(&self, layout: &Layout) -> usize {
        4 * layout.len()
    }

    fn encode(&mut self, given: &[f32], _: &Coding, out: &mut Writer) -> Result<()> {
        out.f32s(given);
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, _: &Layout, out: &mut [f32]) -> Result<()> {
        body.f32s(out)
    }

    fn add(&mut self, body: &mut Reader, _: &Layout, weight: f32, onto: &mut [f32], _: &mut Vec<f32>) -> Result<()> {
        Add(weight).floats(body, onto)
    }

    fn linear(&mut self) -> Option<&mut dyn Linear> {
        Some(self)
    }

    fn grain(&self, _: &Layout) -> Option<usize> {
        Some(1)
    }

    fn seam(&self, _: &Layout) -> Option<usize> {
        Some(1)
    }
}

impl Linear for Dense {
    fn short_len(&mut self, layout: &Layout) -> usize {
        layout.len()
    }

    fn project(&mut self, given: &[f32], _: &Coding, short: &mut Vec<f32>) {
        short.clear();
        short.extend_from_slice(given);
    }

    fn lift(&mut self, short: &[f32], _: &Coding, out: &mut [f32]) {
        out.copy_from_slice(short);
    }
}
