//! The conformance suite over the registry of compressors, and the liars that it must catch.

use proptest::prelude::*;
use sordino::Result;
use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer, flat};
use sordino::compress::{self, Class, Coding, Compressor, Hands};
use sordino::fabric::at_once;
use sordino::grammar::Element;
use sordino::testing::compress::{conserves_exactly, suite};

fn make(text: &str) -> Box<dyn Compressor> {
    Element::parse(text).and_then(|e| compress::build(&e)).unwrap_or_else(|e| panic!("{e}"))
}

/// Settings worth a look beside every element's defaults.
const SETTINGS: &[&str] = &[
    "bingrad(b, scope=tensor)",
    "bingrad(pb)",
    "bingrad(pb, scope=bucket(64))",
    "block(0.3)",
    "block(1)",
    "block(0.3, clip=0.5)",
    "clipped(2, topk(0.1))",
    "clipped(1e-3, qsgd)",
    "clipped(0.5, half(f16), clip=0.25)",
    "dense",
    "dense(clip=1)",
    "half(f16)",
    "orq(5)",
    "orq(9)",
    "orq(9, scope=bucket(100))",
    "orq(3, scope=tensor)",
    "powersgd(1)",
    "powersgd(100)",
    "powersgd(2, clip=0.5)",
    "clipped(2, powersgd(3))",
    "qsgd(1)",
    "qsgd(5, norm=l2)",
    "qsgd(15, scope=tensor)",
    "qsgd(127, norm=l2, scope=bucket(33))",
    "randk(0.2, scale=unbiased)",
    "randk(0.7)",
    "randk(1, scale=unbiased)",
    "randk(0.1, scope=model)",
    "sign(tensor)",
    "sign(bucket(50))",
    "span(3)",
    "span(2, clip=0.5)",
    "terngrad(sigmas=2.5)",
    "terngrad(6, scope=model)",
    "terngrad(scope=bucket(512))",
    "topk(0.1, scope=model)",
    "topk(0.5, scope=bucket(7))",
    "topk(1)",
    "topk(0.05, clip=0.1)",
];

/// Every element of the registry as it comes, and the settings above.
fn settings() -> Vec<String> {
    let plain = compress::ENTRIES.iter().map(|entry| entry.name.to_owned());
    plain.chain(SETTINGS.iter().map(|s| (*s).to_owned())).collect()
}

#[test]
fn every_element_keeps_the_contract_in_every_setting() {
    for text in settings() {
        println!("{text}");
        suite(&|| make(&text));
    }
}

#[test]
fn two_threads_write_and_read_what_one_does() {
    let tensor = |n: &[usize]| Tensor::new("t", n, Role::Weight);
    let layouts =
        [Layout::new([tensor(&[500, 700])]), Layout::new([&[300, 400][..], &[7], &[90_000], &[64, 1000]].map(tensor))];
    for layout in layouts {
        let mut noise = Stream::new(4, Use::Problem, 0, 0);
        let given: Vec<f32> = (0..layout.len()).map(|_| noise.normal()).collect();
        let (stream, shared) = (Stream::new(1, Use::Encode, 0, 0), Stream::new(1, Use::Shared, 0, 0));
        let at = Coding { layout: &layout, stream: &stream, shared: &shared };
        for text in settings() {
            let said = [1, 2].map(|coders| {
                let (mut compressor, mut out) = (make(&text), Writer::new());
                if coders == 2 {
                    compressor.lend(Hands { both: at_once, least: 1 << 18 });
                }
                compressor.encode(&given, &at, &mut out).unwrap();
                let (mut said, mut sum) = (vec![f32::NAN; given.len()], given.clone());
                compressor.decode(&mut Reader::new(out.bytes()), &layout, &mut said).unwrap();
                compressor.add(&mut Reader::new(out.bytes()), &layout, 0.3, &mut sum, &mut Vec::new()).unwrap();
                let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                (out, bits(said), bits(sum))
            });
            assert!(said[0].0.bytes() == said[1].0.bytes(), "{text}: other bytes");
            assert!(said[0].1 == said[1].1 && said[0].2 == said[1].2, "{text}: other bits");
        }
    }
}

#[test]
fn selections_and_halves_conserve_bit_for_bit() {
    for text in ["dense", "half", "half(f16)", "topk", "topk(0.3)", "randk", "randk(0.5)", "block(0.2)"] {
        conserves_exactly(&|| make(text));
    }
}

proptest! {
    #[test]
    fn every_decoder_survives_arbitrary_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        lengths in prop::collection::vec(0usize..300, 0..4),
        which in 0..settings().len(),
    ) {
        let layout =
            Layout::new(lengths.iter().enumerate().map(|(i, n)| Tensor::new(format!("t{i}"), &[*n], Role::Weight)));
        let mut compressor = make(&settings()[which]);
        let mut out = vec![f32::from_bits(0x7FA5_5A5A); layout.len()];
        if compressor.decode(&mut Reader::new(&bytes), &layout, &mut out).is_ok() {
            prop_assert!(out.iter().all(|v| v.to_bits() != 0x7FA5_5A5A));
        }
    }

    #[test]
    fn every_finite_vector_is_said_and_heard_alike(
        bits in prop::collection::vec(any::<u32>(), 1..200),
        which in 0..settings().len(),
    ) {
        let given: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).map(|v| if v.is_finite() { v } else { 0.0 }).collect();
        let layout = Layout::vector(given.len());
        let (stream, shared) = (Stream::new(1, Use::Encode, 0, 0), Stream::new(1, Use::Shared, 0, 0));
        let at = Coding { layout: &layout, stream: &stream, shared: &shared };
        let mut out = Writer::new();
        let mut compressor = make(&settings()[which]);
        compressor.encode(&given, &at, &mut out).unwrap();
        prop_assert!(out.bytes().len() <= compressor.bound(&layout));
        let mut said = vec![f32::NAN; given.len()];
        let mut body = Reader::new(out.bytes());
        make(&settings()[which]).decode(&mut body, &layout, &mut said).unwrap();
        prop_assert!(body.done().is_ok() && flat::is_finite(&said), "{} says {said:?} of {given:?}", settings()[which]);
    }
}

/// A compressor that breaks one promise: the suite must say so.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    /// Random rounding between levels that do not reach the extremes, declared unbiased.
    NarrowLevels,
    /// Says a little less than it should, declared unbiased.
    Shrinking,
    /// Drops the last entry, declared lossless.
    Lossless,
    /// Halves, declared a better contraction than it is.
    Contraction,
    /// One byte more than promised.
    Bound,
    /// Counts its calls into the message.
    Memory,
    /// Leaves the last entry unwritten.
    Unwritten,
    /// Linear face with a constant added.
    Affine,
    /// Adds to a sum without the weight.
    Adding,
}

struct Liar(Lie, f32);

impl Liar {
    fn transform(&self, v: f32, top: f32, u: f32, last: bool) -> f32 {
        match self.0 {
            Lie::NarrowLevels => {
                let level = 0.5 * top;
                if v + level > u * 2.0 * level { level } else { -level }
            }
            Lie::Shrinking => 0.97 * v,
            Lie::Lossless if last => 0.0,
            Lie::Contraction => 0.5 * v,
            _ => v,
        }
    }
}

impl Compressor for Liar {
    fn class(&self, _: &Layout) -> Class {
        match self.0 {
            Lie::NarrowLevels | Lie::Shrinking => Class::Unbiased { omega: 1.0 },
            Lie::Contraction => Class::Contractive { delta: 0.8 },
            _ => Class::Lossless,
        }
    }

    fn bound(&self, layout: &Layout) -> usize {
        4 * layout.len()
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        let top = flat::max_abs(given);
        for (i, v) in given.iter().enumerate() {
            let u = at.stream.pair_at(i as u64).0;
            out.f32(self.transform(*v, top, u, i + 1 == given.len()) + self.1);
        }
        if self.0 == Lie::Bound {
            out.u8(0);
        }
        if self.0 == Lie::Memory {
            self.1 += 1.0;
        }
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        let read = layout.len() - usize::from(self.0 == Lie::Unwritten && !layout.is_empty());
        body.f32s(&mut out[..read])?;
        body.raw(4 * (layout.len() - read)).map(|_| ())
    }

    fn add(
        &mut self,
        body: &mut Reader,
        layout: &Layout,
        weight: f32,
        onto: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<()> {
        spare.resize(layout.len(), 0.0);
        self.decode(body, layout, spare)?;
        flat::add_scaled(onto, if self.0 == Lie::Adding { 1.0 } else { weight }, spare);
        Ok(())
    }

    fn linear(&mut self) -> Option<&mut dyn compress::Linear> {
        if self.0 == Lie::Affine { Some(self) } else { None }
    }
}

impl compress::Linear for Liar {
    fn short_len(&mut self, layout: &Layout) -> usize {
        layout.len()
    }

    fn project(&mut self, given: &[f32], _: &Coding, short: &mut Vec<f32>) {
        short.clear();
        short.extend_from_slice(given);
    }

    fn lift(&mut self, short: &[f32], _: &Coding, out: &mut [f32]) {
        for (x, v) in out.iter_mut().zip(short) {
            *x = v + if self.0 == Lie::Affine { 1.0 } else { 0.0 };
        }
    }
}

#[test]
fn the_suite_catches_every_liar() {
    let words = [
        (Lie::NarrowLevels, "in the mean"),
        (Lie::Shrinking, "there is a bias"),
        (Lie::Lossless, "not lossless"),
        (Lie::Contraction, "promised an error"),
        (Lie::Bound, "promised"),
        (Lie::Memory, "other bytes"),
        (Lie::Unwritten, "unwritten"),
        (Lie::Affine, "not what a message says"),
        (Lie::Adding, "adding 37 times gives other bits"),
    ];
    for (lie, word) in words {
        let caught = std::panic::catch_unwind(|| suite(&|| Box::new(Liar(lie, 0.0))));
        let message = caught.expect_err(word);
        let message = message.downcast_ref::<String>().map_or("", String::as_str);
        assert!(message.contains(word), "expected `{word}`, came `{message}`");
    }
}
