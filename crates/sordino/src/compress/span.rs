//! Span: what of a vector lies along a few random directions, the same on every rank.
//!
//! # What it does
//! Projects the whole vector on the span of q Gaussian directions that all ranks draw alike, and sends one number a
//! direction.
//!
//! # The step
//! ```text
//! uⱼ ~ N(0, I), j = 1..q, from the shared stream;   q₁, …, q_q an orthonormal basis of their span, in their order
//! C(v) = Σⱼ cⱼqⱼ,   cⱼ = ⟨qⱼ, v⟩
//! ```
//! # Contract
//! uⱼ is the normal numbers of part j of the round's shared stream: the directions of `local.estimate=gausge` with
//! `shared=true` in the step of the same number, whose estimates are said to rounding. Linear: project takes the
//! cⱼ, lift adds up. An orthogonal projection on a uniformly random subspace: contractive in expectation over the shared
//! stream with δ = q/d, and lossless (the entries themselves travel) where q ≥ d. 32q bits on an all-reduce; a message of
//! its own also carries the 64 bits of the key. Numbers beyond f32 saturate. The basis is made once a round, in
//! f64, rounded to f32: q·d normal numbers, q²d products, 4qd bytes.
//!
//! # When it helps, when it hurts
//! With shared zeroth-order directions a model of any size is trained at four bytes a step and direction. As a
//! compressor of gradients it says q/d of them, which only feedback and d/q times as many rounds make up for.
//!
//! # Reference
//! None needed: an orthogonal projection.
//!
//! # Deviations from the paper
//! None known.

use super::{Class, Coding, Compressor, Linear};
use crate::base::{Error, Layout, Reader, Result, Stream, Writer, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "span",
    about: "what lies along a few random directions that all ranks share; one number each",
    keys: &[Key { name: "directions", default: "1", about: "q: how many, those of gausge(shared=true)" }],
    build: |args| {
        let directions = args.count("directions", 1)?;
        if directions > MOST {
            return Err(Error::request(format!(
                "`directions` of `span` is at most {MOST}, {directions} came: a basis of more takes too long to make; use \
                 compress=block or randk"
            )));
        }
        Ok(Box::new(Span::new(directions as usize)))
    },
};

/// The most directions: a basis of q takes q²d products a round.
const MOST: u64 = 1024;

/// A projection on shared random directions.
#[derive(Clone, Debug)]
pub struct Span {
    directions: usize,
    /// The basis, direction after direction, and the key and length it was made for.
    basis: Vec<f32>,
    made: Option<(u64, usize)>,
}

impl Span {
    /// On so many directions.
    pub fn new(directions: usize) -> Self {
        Self { directions, basis: Vec::new(), made: None }
    }

    /// Whether the directions span everything there is.
    fn whole(&self, d: usize) -> bool {
        self.directions >= d
    }

    /// Numbers that stand for a vector of `d` entries.
    fn len(&self, d: usize) -> usize {
        self.directions.min(d)
    }

    /// The orthonormal basis of a key's directions: modified Gram and Schmidt, twice, in f64.
    fn basis(&mut self, key: u64, d: usize) -> &[f32] {
        if self.made != Some((key, d)) {
            let streams = Stream::of_key(key);
            let mut basis: Vec<Vec<f64>> = Vec::with_capacity(self.directions);
            for j in 0..self.directions as u64 {
                let mut stream = streams.part(j);
                let mut u: Vec<f64> = (0..d).map(|_| f64::from(stream.normal())).collect();
                for _ in 0..2 {
                    for q in &basis {
                        let along: f64 = q.iter().zip(&u).map(|(q, u)| q * u).sum();
                        u.iter_mut().zip(q).for_each(|(u, q)| *u -= along * q);
                    }
                }
                let norm = libm::sqrt(u.iter().map(|u| u * u).sum());
                // Directions that lie in the span of the others, as only chance could make them, say nothing.
                let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
                basis.push(u.iter().map(|u| u * scale).collect());
            }
            self.basis.clear();
            self.basis.extend(basis.iter().flatten().map(|q| *q as f32));
            self.made = Some((key, d));
        }
        &self.basis
    }

    fn along(&mut self, key: u64, given: &[f32], short: &mut Vec<f32>) {
        short.clear();
        if self.whole(given.len()) {
            return short.extend_from_slice(given);
        }
        short.extend(self.basis(key, given.len()).chunks(given.len()).map(|q| saturated(flat::dot(q, given))));
    }

    fn combine(&mut self, key: u64, short: &[f32], out: &mut [f32]) {
        let d = out.len();
        if self.whole(d) {
            return out.copy_from_slice(short);
        }
        let basis = self.basis(key, d);
        for (i, out) in out.iter_mut().enumerate() {
            let sum: f64 = short.iter().enumerate().map(|(j, c)| f64::from(*c) * f64::from(basis[j * d + i])).sum();
            *out = saturated(sum);
        }
    }
}

/// The nearest number of f32 that is finite.
fn saturated(x: f64) -> f32 {
    x.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Compressor for Span {
    fn class(&self, layout: &Layout) -> Class {
        if self.whole(layout.len()) {
            return Class::Lossless;
        }
        Class::Contractive { delta: self.directions as f64 / layout.len() as f64 }
    }

    fn bound(&self, layout: &Layout) -> usize {
        4 * self.len(layout.len()) + if self.whole(layout.len()) { 0 } else { 8 }
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        let key = at.shared.key();
        let mut short = Vec::new();
        self.along(key, given, &mut short);
        if !self.whole(given.len()) {
            out.u64(key);
        }
        out.f32s(&short);
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        let key = if self.whole(layout.len()) { 0 } else { body.u64()? };
        let mut short = vec![0.0; self.len(layout.len())];
        body.f32s(&mut short)?;
        self.combine(key, &short, out);
        Ok(())
    }

    fn linear(&mut self) -> Option<&mut dyn Linear> {
        Some(self)
    }
}

impl Linear for Span {
    fn short_len(&mut self, layout: &Layout) -> usize {
        self.len(layout.len())
    }

    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        self.along(at.shared.key(), given, short);
    }

    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]) {
        self.combine(at.shared.key(), short, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Use;

    fn direction(shared: &Stream, j: u64, d: usize) -> Vec<f32> {
        let mut stream = shared.part(j);
        (0..d).map(|_| stream.normal()).collect()
    }

    fn said(span: &mut Span, given: &[f32], shared: &Stream) -> Vec<f32> {
        let (layout, private) = (Layout::vector(given.len()), Stream::new(0, Use::Encode, 0, 0));
        let at = Coding { layout: &layout, stream: &private, shared };
        let (mut short, mut out) = (Vec::new(), vec![f32::NAN; given.len()]);
        span.project(given, &at, &mut short);
        span.lift(&short, &at, &mut out);
        out
    }

    #[test]
    fn what_lies_in_the_span_is_said_and_what_does_not_is_not() {
        let shared = Stream::new(4, Use::Shared, 0, 9);
        let mut given = vec![0.0; 50];
        for (j, c) in [2.0, -0.3, 0.1].into_iter().enumerate() {
            flat::add_scaled(&mut given, c, &direction(&shared, j as u64, 50));
        }
        let far = |span: &mut Span, shared: &Stream| flat::distance(&said(span, &given, shared), &given);
        assert!(far(&mut Span::new(3), &shared) < 1e-6 * flat::norm(&given));
        // Control: fewer directions, or those of another round, leave something out.
        assert!(far(&mut Span::new(2), &shared) > 0.1);
        assert!(far(&mut Span::new(3), &Stream::new(4, Use::Shared, 0, 10)) > 1.0);
    }

    #[test]
    fn as_many_directions_as_entries_lose_nothing_and_one_fewer_a_little() {
        let given: Vec<f32> = (0..20u8).map(|i| f32::from(i * i % 7) - 2.5).collect();
        let mut shares = 0.0;
        for round in 0..50 {
            let shared = Stream::new(2, Use::Shared, 0, round);
            for q in [20, 21] {
                assert_eq!(said(&mut Span::new(q), &given, &shared), given);
            }
            let out = said(&mut Span::new(19), &given, &shared);
            let left: Vec<f32> = given.iter().zip(&out).map(|(v, c)| v - c).collect();
            assert!(flat::dot(&left, &out).abs() < 1e-4, "what is left is orthogonal to what is said");
            shares += flat::squared_norm(&left) / flat::squared_norm(&given) / 50.0;
        }
        assert!(shares > 0.005 && shares < 0.2, "1/20 on average: {shares}");
    }

    #[test]
    fn one_direction_after_another_is_the_projection_and_its_mean_error_is_what_theory_says() {
        let given: Vec<f32> = (0..12u8).map(|i| f32::from(i % 5) - 1.5).collect();
        let (mut span, rounds) = (Span::new(4), 4000);
        let square = flat::squared_norm(&given);
        let (mut sum, mut squares) = (0.0, 0.0);
        for round in 0..rounds {
            let shared = Stream::new(1, Use::Shared, 0, round);
            let out = said(&mut span, &given, &shared);
            let error: Vec<f32> = given.iter().zip(&out).map(|(v, c)| v - c).collect();
            for j in 0..4 {
                assert!(flat::dot(&error, &direction(&shared, j, 12)).abs() < 1e-4);
            }
            let share = flat::squared_norm(&error) / square;
            sum += share;
            squares += share * share;
        }
        // What is left is Beta(4, 2) distributed: mean 2/3, variance 2/63.
        let n = rounds as f64;
        assert!((sum / n - 2.0 / 3.0).abs() < 6.0 * (2.0 / 63.0 / n).sqrt(), "{}", sum / n);
        assert!((squares / n - 4.0 / 9.0 - 2.0 / 63.0).abs() < 6.0 / n.sqrt(), "{}", squares / n);
    }
}
