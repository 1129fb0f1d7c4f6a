//! Clipped: a vector of bounded norm, then another compressor.
//!
//! # What it does
//! Scales the whole vector down to norm tau if it is longer, and hands it to `inner`.
//!
//! # The step
//! ```text
//! clip(v) = min(1, τ/‖v‖)·v,   ‖·‖ over all tensors;  clip(0) = 0
//! C(v) = inner(clip(v))
//! ```
//! # Contract
//! ‖clip(v)‖ ≤ τ in exact arithmetic on the rounded entries. With a lossless or contractive inner compressor, or an
//! unbiased one of ω ≤ 1, ‖C(v) − v‖ ≤ ‖v‖ (class clipping); with ω > 1 the error is bounded by ω·‖v‖². Bytes are
//! inner's. Has inner's linear face, for messages that are added up: it is linear in what was clipped.
//!
//! # When it helps, when it hurts
//! Bounds what one client can say, as privacy asks. By itself biased, and it may stall or diverge where clients differ;
//! inside EF21 (that is Clip21) the bias dies out in finite time. Every element takes it as the common key `clip`.
//!
//! # Reference
//! Khirirat, Gorbunov, Horváth, Islamov, Karray, Richtárik: Clip21 (2305.18929): clip first, then compress.
//!
//! # Deviations from the paper
//! The factor is smaller by 2⁻²³, so that rounding never lifts the norm above τ.

use super::{Class, Coding, Compressor, Hands, Linear};
use crate::base::{Former, Layout, Reader, Result, State, Writer, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "clipped",
    about: "the whole vector scaled to norm at most tau, then another compressor",
    keys: &[
        Key { name: "tau", default: "1", about: "the largest norm, in the unit of the payload" },
        Key { name: "inner", default: "dense", about: "the compressor that follows" },
    ],
    build: |args| Ok(Box::new(Clipped::new(args.positive("tau")?, super::build(args.element("inner")?)?))),
};

/// Norm clipping before another compressor.
pub struct Clipped {
    tau: f64,
    inner: Box<dyn Compressor>,
    scaled: Vec<f32>,
    shortened: u64,
}

impl Clipped {
    /// Clips to norm `tau` > 0, then `inner`.
    pub fn new(tau: f64, inner: Box<dyn Compressor>) -> Self {
        Self { tau, inner, scaled: Vec::new(), shortened: 0 }
    }

    /// Writes the clipped vector to `scaled`, or answers false where it is short enough as it is. The second phase of a
    /// code clips the same vector again, so only its first counts.
    fn clip(&mut self, given: &[f32]) -> bool {
        let norm = flat::norm(given);
        if norm <= self.tau {
            return false;
        }
        let factor = self.tau / norm * (1.0 - f64::from(f32::EPSILON));
        self.scaled.clear();
        self.scaled.extend(given.iter().map(|v| (f64::from(*v) * factor) as f32));
        true
    }
}

impl Compressor for Clipped {
    fn class(&self, layout: &Layout) -> Class {
        match self.inner.class(layout) {
            Class::Unbiased { omega } if omega > 1.0 => Class::Bounded { factor: omega },
            Class::Bounded { factor } => {
                // (√factor·‖c‖ + ‖v‖ − ‖c‖)² is largest at ‖c‖ = ‖v‖ where factor ≥ 1.
                Class::Bounded { factor: factor.max(1.0) }
            }
            _ => Class::Clipping,
        }
    }

    fn bound(&self, layout: &Layout) -> usize {
        self.inner.bound(layout)
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        let clipped = self.clip(given);
        self.shortened += u64::from(clipped);
        self.inner.encode(if clipped { &self.scaled } else { given }, at, out)
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        self.inner.decode(body, layout, out)
    }

    fn add(
        &mut self,
        body: &mut Reader,
        layout: &Layout,
        weight: f32,
        onto: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<()> {
        self.inner.add(body, layout, weight, onto, spare)
    }

    fn linear(&mut self) -> Option<&mut dyn Linear> {
        self.inner.linear()?;
        Some(self)
    }

    fn lend(&mut self, hands: Hands) {
        self.inner.lend(hands);
    }

    fn saturated(&self) -> u64 {
        self.inner.saturated()
    }

    fn shortened(&mut self) -> u64 {
        std::mem::take(&mut self.shortened) + self.inner.shortened()
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.inner.load(state, layout)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        self.inner.deal(former)
    }
}

/// Only reached through [`Compressor::linear`], which answers for the inner compressor.
impl Linear for Clipped {
    fn short_len(&mut self, layout: &Layout) -> usize {
        self.inner.linear().map_or(0, |linear| linear.short_len(layout))
    }

    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        let clipped = self.clip(given);
        self.shortened += u64::from(clipped);
        let Self { inner, scaled, .. } = self;
        if let Some(linear) = inner.linear() {
            linear.project(if clipped { scaled } else { given }, at, short);
        }
    }

    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]) {
        if let Some(linear) = self.inner.linear() {
            linear.lift(short, at, out);
        }
    }

    fn two_phases(&mut self) -> bool {
        self.inner.linear().is_some_and(Linear::two_phases)
    }

    fn refine(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        let clipped = self.clip(given);
        let Self { inner, scaled, .. } = self;
        if let Some(linear) = inner.linear() {
            linear.refine(if clipped { scaled } else { given }, at, short);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Stream, Use};
    use crate::compress::build;
    use crate::grammar::Element;

    fn said(text: &str, given: &[f32]) -> Vec<f32> {
        let layout = Layout::vector(given.len());
        let stream = Stream::new(0, Use::Encode, 0, 0);
        let at = Coding { layout: &layout, stream: &stream, shared: &stream };
        let mut compressor = build(&Element::parse(text).unwrap()).unwrap();
        let (mut bytes, mut out) = (Writer::new(), vec![0.0; given.len()]);
        compressor.encode(given, &at, &mut bytes).unwrap();
        compressor.decode(&mut Reader::new(bytes.bytes()), &layout, &mut out).unwrap();
        out
    }

    fn vectors() -> impl Iterator<Item = Vec<f32>> {
        let mut stream = Stream::new(3, Use::Noise, 0, 0);
        (0..2000).map(move |_| {
            let scale = libm::exp(4.0 * f64::from(stream.normal())) as f32;
            (0..12).map(|_| scale * stream.normal()).collect()
        })
    }

    #[test]
    fn a_message_is_never_longer_than_tau() {
        for v in vectors() {
            assert!(flat::norm(&said("clipped(0.7)", &v)) <= 0.7);
            assert!(flat::norm(&said("topk(0.3, clip=0.7)", &v)) <= 0.7);
        }
    }

    #[test]
    fn what_is_left_shrinks_by_tau_or_by_the_contraction() {
        // With δ = k/n and s = √(1 − δ): what is left of u is at most s‖u‖ inside the ball, else ‖u‖ − (1 − s)τ.
        let (tau, s) = (0.7, libm::sqrt(1.0 - 3.0 / 12.0));
        for u in vectors() {
            let (norm, left) = (flat::norm(&u), flat::distance(&said("clipped(0.7, topk(0.25))", &u), &u));
            let bound = if norm <= tau { s * norm } else { norm - (1.0 - s) * tau };
            assert!(left <= bound + 1e-6 * norm, "{left} of {norm}");
        }
    }

    #[test]
    fn shifts_reach_a_fixed_vector_in_finite_time() {
        let a = [3.0f32, 0.0, 1.0, 2.0];
        let mut v = [0.0f32; 4];
        for k in 1..=6 {
            let gap: Vec<f32> = a.iter().zip(&v).map(|(a, v)| a - v).collect();
            flat::add(&mut v, &said("clipped(1)", &gap));
            let expected = (libm::sqrt(14.0) - f64::from(k)).max(0.0);
            assert!((flat::distance(&a, &v) - expected).abs() < 1e-5);
        }
    }
}
