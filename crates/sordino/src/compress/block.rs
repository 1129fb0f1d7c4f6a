//! Block: one random run of entries a tensor, the same on every rank.
//!
//! # What it does
//! Keeps, of every tensor, a run of consecutive entries (wrapping around) whose start all ranks draw alike.
//!
//! # The step
//! ```text
//! ℓ = max(1, ⌊ratio·n⌋),  start ~ uniform{0, …, n − 1} from the shared stream
//! C(v)ᵢ = vᵢ  if (i − start) mod n < ℓ, else 0
//! ```
//! # Contract
//! Linear: project takes the runs, lift puts them back between zeros. Contractive with δ = min ℓ/n in expectation over
//! the shared stream; a selection, so given = said + kept bit for bit. 32ℓ bits a tensor on an all-reduce, and no
//! indices; a message of its own also carries the start as a varint.
//!
//! # When it helps, when it hurts
//! The one sparsifier that a ring adds up without growing: bytes do not depend on the number of ranks. Needs error
//! feedback; an entry waits n/ℓ rounds on average.
//!
//! # Reference
//! Xu, Huang: Detached error feedback for distributed SGD with random sparsification (2004.05298v3) and its code.
//!
//! # Deviations from the paper
//! `ratio` is the share kept, here and in `topk`; the paper's ratio 64 is `ratio=1/64` = 0.015625, the default. Tensors
//! under 64 entries travel whole beside larger ones.

use super::scope::{SMALL, grain, kept_small};
use super::sink::has_negative_zero;
use super::{Add, Class, Coding, Compressor, Linear, Overwrite, Sink};
use crate::base::{Error, Layout, Reader, Result, Stream, Writer};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "block",
    about: "one random run of entries a tensor, the same on every rank",
    keys: &[Key {
        name: "ratio",
        default: "0.015625",
        about: "share of entries kept, length max(1, floor(ratio n)); 1/64",
    }],
    build: |args| Ok(Box::new(Block::new(args.share("ratio")?))),
};

/// A shared random run of every tensor.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    ratio: f64,
}

/// The run of one tensor: its first part, and what wraps around to the tensor's start.
#[derive(Clone, Copy)]
struct Run {
    tensor: usize,
    start: usize,
    first: usize,
    wrapped: usize,
}

impl Run {
    fn parts<'v>(&self, v: &'v [f32]) -> [&'v [f32]; 2] {
        [&v[self.tensor + self.start..][..self.first], &v[self.tensor..][..self.wrapped]]
    }

    fn parts_mut<'v>(&self, v: &'v mut [f32]) -> [&'v mut [f32]; 2] {
        let (low, high) = v[self.tensor..].split_at_mut(self.start);
        [&mut high[..self.first], &mut low[..self.wrapped]]
    }
}

impl Block {
    /// Keeps `ratio` of every tensor, 0 < ratio ≤ 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio }
    }

    /// Tensor by tensor: where it begins, how long it is, how much of it is kept.
    fn lengths(self, layout: &Layout) -> impl Iterator<Item = (usize, usize, usize)> {
        let keep_small = kept_small(layout);
        layout.tensors().filter(|(_, r)| !r.is_empty()).map(move |(tensor, r)| {
            let n = r.len();
            let whole = keep_small && tensor.of < SMALL;
            (r.start, n, if whole { n } else { ((self.ratio * n as f64) as usize).clamp(1, n) })
        })
    }

    /// Reads a message; entries between the runs are left to whoever calls.
    fn read(self, body: &mut Reader, layout: &Layout, out: &mut [f32], sink: impl Sink) -> Result<()> {
        for (tensor, n, len) in self.lengths(layout) {
            let start = body.varint()?;
            if start >= n as u64 {
                return Err(Error::decode(format!("a run starts at {start} in a tensor of {n} entries")));
            }
            for part in run(tensor, n, len, start as usize).parts_mut(out) {
                sink.floats(body, part)?;
            }
        }
        Ok(())
    }

    fn runs(self, layout: &Layout, shared: &Stream) -> impl Iterator<Item = Run> {
        self.lengths(layout).enumerate().map(move |(i, (tensor, n, len))| {
            let start = if len == n { 0 } else { shared.part(i as u64).below(n as u64) as usize };
            run(tensor, n, len, start)
        })
    }
}

fn run(tensor: usize, n: usize, len: usize, start: usize) -> Run {
    let first = len.min(n - start);
    Run { tensor, start, first, wrapped: len - first }
}

impl Compressor for Block {
    fn class(&self, layout: &Layout) -> Class {
        let share = self.lengths(layout).map(|(_, n, len)| len as f64 / n as f64).fold(1.0, f64::min);
        if share == 1.0 { Class::Lossless } else { Class::Contractive { delta: share } }
    }

    fn bound(&self, layout: &Layout) -> usize {
        self.lengths(layout)
            .map(|(_, n, len)| 4 * len + (u64::BITS - (n as u64).leading_zeros()).div_ceil(7) as usize)
            .sum()
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        for run in self.runs(at.layout, at.shared) {
            out.varint(run.start as u64);
            for part in run.parts(given) {
                out.f32s(part);
            }
        }
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        self.read(body, layout, out, Overwrite)
    }

    fn add(
        &mut self,
        body: &mut Reader,
        layout: &Layout,
        weight: f32,
        onto: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<()> {
        // Entries between the runs say 0, which only turns −0 into 0.
        if has_negative_zero(onto) {
            return super::decode_and_add(self, body, layout, weight, onto, spare);
        }
        self.read(body, layout, onto, Add(weight))
    }

    fn linear(&mut self) -> Option<&mut dyn Linear> {
        Some(self)
    }

    fn grain(&self, layout: &Layout) -> Option<usize> {
        Some(grain(layout))
    }

    fn seam(&self, _: &Layout) -> Option<usize> {
        Some(usize::MAX)
    }

    fn parts(&self, layout: &Layout) -> u64 {
        self.lengths(layout).count() as u64
    }
}

impl Linear for Block {
    fn short_len(&mut self, layout: &Layout) -> usize {
        self.lengths(layout).map(|(_, _, len)| len).sum()
    }

    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        short.clear();
        for run in self.runs(at.layout, at.shared) {
            run.parts(given).iter().for_each(|part| short.extend_from_slice(part));
        }
    }

    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]) {
        out.fill(0.0);
        let mut rest = short;
        for run in self.runs(at.layout, at.shared) {
            for part in run.parts_mut(out) {
                let (head, tail) = rest.split_at(part.len());
                part.copy_from_slice(head);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Use;

    #[test]
    fn a_run_wraps_around_and_every_start_is_drawn() {
        let layout = Layout::vector(8);
        let given: Vec<f32> = (1..=8u8).map(f32::from).collect();
        let private = Stream::new(0, Use::Encode, 0, 0);
        let mut block = Block::new(0.5);
        let mut starts = [0; 8];
        for round in 0..200 {
            let shared = Stream::new(0, Use::Shared, 0, round);
            let at = Coding { layout: &layout, stream: &private, shared: &shared };
            let mut short = Vec::new();
            block.project(&given, &at, &mut short);
            let start = short[0] as usize - 1;
            starts[start] += 1;
            let want: Vec<f32> = (0..4).map(|j| given[(start + j) % 8]).collect();
            assert_eq!(short, want);
        }
        assert!(starts.iter().all(|&s| s > 0), "{starts:?}");
    }
}
