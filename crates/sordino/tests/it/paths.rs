//! Every instruction set gives the same bits: the paths of this CPU beside one another.

use sordino::base::simd::{Path, narrowed, paths};
use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer, flat};
use sordino::compress::{self, Coding};
use sordino::grammar::Element;

/// Around what kernels are cut at: rows, words, sheets, blocks, buckets.
const LENGTHS: &[usize] = &[
    0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 255, 257, 319, 320, 321, 335, 511, 512, 513, 1023,
    1025, 2047, 2048, 2049, 4095, 4097, 9000, 20_000,
];

/// The lengths to look at: all, or those that an emulator has time for, as the variable says when this is compiled.
fn lengths() -> impl Iterator<Item = usize> {
    let most = option_env!("SORDINO_LONGEST").map_or(usize::MAX, |most| most.parse().unwrap());
    LENGTHS.iter().copied().filter(move |n| *n <= most)
}

const ELEMENTS: &[&str] = &[
    "dense",
    "half",
    "half(f16)",
    "natural",
    "sign",
    "sign(scope=bucket(100))",
    "bingrad",
    "bingrad(b, scope=tensor)",
    "bingrad(pb)",
    "bingrad(pb, scope=model)",
    "terngrad",
    "terngrad(sigmas=2.5)",
    "qsgd",
    "qsgd(1)",
    "qsgd(levels=15, norm=l2)",
    "qsgd(levels=127, scope=bucket(700))",
    "qsgd(32767)",
    "orq(3)",
    "orq(5)",
    "orq(9)",
    "orq(9, scope=tensor)",
    "topk(0.01)",
    "topk(0.3)",
    "topk(1)",
    "randk(0.01)",
    "randk(0.5, scale=unbiased)",
    "block",
    "powersgd(4)",
    "span(2)",
    "clipped(1, qsgd)",
];

/// Vectors of ordinary and of awkward numbers.
fn vectors(n: usize) -> Vec<Vec<f32>> {
    let mut stream = Stream::new(5, Use::Problem, 0, n as u64);
    let normal: Vec<f32> = (0..n).map(|_| stream.normal()).collect();
    let odd = [0.0, -0.0, 1e-45, -1e-45, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 65504.0, 65520.0, -1.0, 1.0];
    vec![
        normal.iter().map(|v| v * v * v).collect(),
        (0..n).map(|_| odd[stream.below(odd.len() as u64) as usize]).collect(),
        // Ties, zeros of both signs.
        normal.iter().map(|v| v.round()).collect(),
        normal.iter().map(|v| v * 1e-40).collect(),
        vec![-0.0; n],
        normal,
    ]
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// What a compressor says, what that adds to a sum, and the bytes that it says it by.
fn coded(text: &str, layout: &Layout, given: &[f32]) -> (Vec<u8>, [Vec<u32>; 2]) {
    let mut compressor = compress::build(&Element::parse(text).unwrap()).unwrap();
    let (stream, shared) = (Stream::new(1, Use::Encode, 2, 3), Stream::new(1, Use::Shared, 0, 3));
    let at = Coding { layout, stream: &stream, shared: &shared };
    let (mut out, mut said) = (Writer::new(), vec![7.0; given.len()]);
    compressor.encode(given, &at, &mut out).unwrap();
    compressor.decode(&mut Reader::new(out.bytes()), layout, &mut said).unwrap();
    let mut sum: Vec<f32> = given.iter().rev().copied().collect();
    compressor.add(&mut Reader::new(out.bytes()), layout, 0.3, &mut sum, &mut Vec::new()).unwrap();
    (out.bytes().to_vec(), [bits(&said), bits(&sum)])
}

#[test]
fn this_cpu_has_a_baseline_and_what_is_narrowed_is_no_wider() {
    let paths = paths();
    println!("this CPU has {paths:?}");
    assert_eq!(paths[0], Path::Baseline);
    assert!(paths.is_sorted());
    let within = narrowed(Path::Baseline, sordino::base::simd::paths);
    assert_eq!(within, paths, "asking for the paths does not depend on the one that is taken");
}

#[test]
fn every_compressor_writes_and_reads_the_same_bits_on_every_path() {
    for n in lengths() {
        let side = (1..=n.isqrt().max(1)).rev().find(|s| n.is_multiple_of(*s)).unwrap_or(1);
        let one = Layout::new([Tensor::new("x", &[side, n / side], Role::Weight)]);
        let some = Layout::new([
            Tensor::new("a", &[n / 3], Role::Weight),
            Tensor::new("b", &[5], Role::Bias),
            Tensor::new("c", &[n - n / 3], Role::Weight),
        ]);
        for layout in [one, some] {
            for (kind, given) in vectors(layout.len()).iter().enumerate() {
                for text in ELEMENTS {
                    let wanted = narrowed(Path::Baseline, || coded(text, &layout, given));
                    for path in &paths()[1..] {
                        let came = narrowed(*path, || coded(text, &layout, given));
                        assert!(came == wanted, "{text} on {path:?}: {n} entries of kind {kind} give other bits");
                    }
                }
            }
        }
    }
}

#[test]
fn sums_and_extremes_have_the_same_bits_on_every_path() {
    fn all(x: &[f32], y: &[f32]) -> Vec<u64> {
        let (low, high) = flat::extremes(x);
        let mut sum = y.to_vec();
        flat::add_scaled(&mut sum, 0.3, x);
        let singles = [flat::max_abs(x), low, high].map(|v| u64::from(v.to_bits()));
        let doubles = [flat::sum(x), flat::norm1(x), flat::squared_norm(x), flat::norm(x), flat::dot(x, y)];
        let mut all: Vec<u64> = singles.into_iter().chain(doubles.map(f64::to_bits)).collect();
        all.push(flat::fingerprint(&sum));
        all
    }
    for n in lengths() {
        let vectors = vectors(n);
        for (x, y) in vectors.iter().zip(vectors.iter().skip(1)) {
            let wanted = narrowed(Path::Baseline, || all(x, y));
            for path in &paths()[1..] {
                assert_eq!(narrowed(*path, || all(x, y)), wanted, "{n} entries on {path:?}");
            }
        }
    }
}

#[test]
fn rows_of_a_stream_are_its_numbers_on_every_path() {
    use sordino::base::simd::{SimdBase as _, widest};
    let stream = Stream::new(1, Use::Encode, 2, 3);
    let mut wanted = vec![0.0; 1200];
    stream.uniforms_at(0, &mut wanted);
    for path in paths() {
        let came: Vec<f32> = narrowed(path, || {
            widest!(simd => {
                let rows = stream.rows(simd);
                (0..75).flat_map(|i| rows.at(16 * i).to_array()).collect()
            })
        });
        assert_eq!(came, wanted, "{path:?}");
    }
}
