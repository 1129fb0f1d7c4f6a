//! A flat f32 vector, the layout that remembers its tensors, and the arithmetic both need.
//!
//! Vectors are plain `&[f32]`; [`Layout`] is the only witness that one was named tensors. Element-wise arithmetic is
//! f32 without fused multiply-add; reductions are f64 in sixteen fixed lanes and then a fixed tree, so that every CPU
//! and every vector width gives the same bits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::error::{Error, Result};
use super::simd::{self, SimdBase};

/// What a tensor is for. A buffer is not a parameter: it is never compressed, clipped or stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix or kernel.
    Weight,
    /// An additive bias.
    Bias,
    /// Scale or shift of a normalisation layer.
    Norm,
    /// Running statistics and the like.
    Buffer,
}

/// One named tensor of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its path in the model, such as `layer1.weight`.
    pub name: String,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Entries of the tensor that this is, or was cut from.
    pub of: usize,
}

impl Tensor {
    /// A tensor by name, shape and role.
    pub fn new(name: impl Into<String>, shape: &[usize], role: Role) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), role, of: shape.iter().product() }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named short list of numbers that travels dense beside an update and is aggregated as the update is.
#[derive(Clone, Debug, PartialEq)]
pub struct Aside {
    /// What it is called in the ledger, behind `aside:`.
    pub name: &'static str,
    /// The numbers; how many there are is fixed for a run.
    pub values: Vec<f32>,
}

impl Aside {
    /// Zeros under a name.
    pub fn zeros(name: &'static str, len: usize) -> Self {
        Self { name, values: vec![0.0; len] }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    parameters: Vec<Tensor>,
    ranges: Vec<Range<usize>>,
    buffers: Vec<Tensor>,
    len: usize,
    buffer_len: usize,
}

/// The tensors behind a flat vector, in order; fixed for a run, cheap to clone, compared before vectors meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(Arc<Inner>);

impl Layout {
    /// A layout of the given tensors; those with [`Role::Buffer`] form a second flat vector of their own.
    pub fn new(tensors: impl IntoIterator<Item = Tensor>) -> Self {
        let (buffers, parameters): (Vec<_>, Vec<_>) = tensors.into_iter().partition(|t| t.role == Role::Buffer);
        let mut len = 0;
        let ranges = parameters
            .iter()
            .map(|t| {
                len += t.len();
                len - t.len()..len
            })
            .collect();
        let buffer_len = buffers.iter().map(Tensor::len).sum();
        Self(Arc::new(Inner { parameters, ranges, buffers, len, buffer_len }))
    }

    /// A single unnamed parameter vector of `len` entries, for problems without structure.
    pub fn vector(len: usize) -> Self {
        Self::new([Tensor::new("x", &[len], Role::Weight)])
    }

    /// Number of parameters, `d`.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Number of buffer entries.
    pub fn buffer_len(&self) -> usize {
        self.0.buffer_len
    }

    /// The parameter tensors with their ranges in the flat vector.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&Tensor, Range<usize>)> {
        self.0.parameters.iter().zip(self.0.ranges.iter().cloned())
    }

    /// The buffer tensors, in the order of the flat buffer vector.
    pub fn buffers(&self) -> &[Tensor] {
        &self.0.buffers
    }

    /// The ranges of the parameter tensors alone.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0.ranges
    }

    /// The layout of some of the parameter tensors, by their positions, in that order.
    #[must_use]
    pub fn part(&self, tensors: &[usize]) -> Self {
        Self::new(tensors.iter().filter_map(|i| self.0.parameters.get(*i)).cloned())
    }

    /// Refuses a vector that is not of this layout's length.
    pub fn expect(&self, what: &str, vector: &[f32]) -> Result<()> {
        if vector.len() == self.len() {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "{what} has {} entries, but the layout has {}: both must come from the same model",
            vector.len(),
            self.len()
        )))
    }
}

const LANES: usize = simd::ROW;

/// Σ term(xᵢ) in f64, in sixteen lanes and a fixed tree.
#[inline]
pub fn reduce(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += term(f64::from(v));
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += term(f64::from(v));
    }
    tree(lanes)
}

#[inline]
fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ xᵢ in f64.
pub fn sum(x: &[f32]) -> f64 {
    simd::widest!(simd => simd::sum(simd, x, |v| v))
}

/// Σ |xᵢ| in f64.
pub fn norm1(x: &[f32]) -> f64 {
    simd::widest!(simd => simd::sum(simd, x, SimdBase::abs))
}

/// Σ xᵢ² in f64.
pub fn squared_norm(x: &[f32]) -> f64 {
    simd::widest!(simd => simd::squares(simd, x))
}

/// ‖x‖₂ in f64.
pub fn norm(x: &[f32]) -> f64 {
    libm::sqrt(squared_norm(x))
}

/// Σ xᵢyᵢ in f64; both must have the same length.
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    debug_assert_eq!(x.len(), y.len());
    let mut lanes = [0.0f64; LANES];
    for (a, b) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for (lane, (&u, &v)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(u) * f64::from(v);
        }
    }
    tree(lanes)
}

/// ‖x − y‖₂ in f64; both must have the same length.
pub fn distance(x: &[f32], y: &[f32]) -> f64 {
    debug_assert_eq!(x.len(), y.len());
    let mut lanes = [0.0f64; LANES];
    for (a, b) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for (lane, (&u, &v)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            let gap = f64::from(u) - f64::from(v);
            *lane += gap * gap;
        }
    }
    libm::sqrt(tree(lanes))
}

/// max |xᵢ|, 0 for an empty vector; the entries must not be NaN.
pub fn max_abs(x: &[f32]) -> f32 {
    simd::widest!(simd => simd::max_abs(simd, x))
}

/// (min xᵢ, max xᵢ), (∞, −∞) for an empty vector; the entries must not be NaN.
pub fn extremes(x: &[f32]) -> (f32, f32) {
    simd::widest!(simd => simd::extremes(simd, x))
}

/// The exponent of an infinity or a NaN: all ones.
const BEYOND: u32 = 0x7F80_0000;

/// Whether every entry is finite. Branch-free over blocks.
pub fn is_finite(x: &[f32]) -> bool {
    x.chunks(4096)
        .all(|block| simd::widest!(_simd => block.iter().fold(true, |well, v| well & (v.to_bits() & BEYOND != BEYOND))))
}

/// y ← y + x.
#[inline(always)]
pub fn add(y: &mut [f32], x: &[f32]) {
    debug_assert_eq!(x.len(), y.len());
    for (a, &b) in y.iter_mut().zip(x) {
        *a += b;
    }
}

/// y ← y − x.
#[inline(always)]
pub fn subtract(y: &mut [f32], x: &[f32]) {
    debug_assert_eq!(x.len(), y.len());
    for (a, &b) in y.iter_mut().zip(x) {
        *a -= b;
    }
}

/// y ← y + c·x (two roundings, no fused multiply-add).
#[inline(always)]
pub fn add_scaled(y: &mut [f32], c: f32, x: &[f32]) {
    debug_assert_eq!(x.len(), y.len());
    for (a, &b) in y.iter_mut().zip(x) {
        *a += c * b;
    }
}

/// y ← c·y.
#[inline(always)]
pub fn scale(y: &mut [f32], c: f32) {
    for a in y {
        *a *= c;
    }
}

/// y ← y / n: the one division of a mean.
#[inline(always)]
pub fn divide(y: &mut [f32], n: f32) {
    for a in y {
        *a /= n;
    }
}

/// A 64-bit hash of the bits of a vector, for comparing trajectories across engines and for naming data.
pub fn fingerprint(x: &[f32]) -> u64 {
    x.iter().fold(0xCBF2_9CE4_8422_2325, |h, v| {
        (h ^ u64::from(v.to_bits())).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(5)
    })
}

/// What a thing remembers, by name: f32 vectors and whole numbers. Checkpoints are made of it.
///
/// Names are paths (`feedback/residual`); [`State::put`] and [`State::take`] are the only verbs, and taking a name
/// that is not there, or a vector of another length, is an error that names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The vectors, by path.
    pub vectors: BTreeMap<String, Vec<f32>>,
    /// The whole numbers, by path.
    pub numbers: BTreeMap<String, Vec<u64>>,
}

impl State {
    /// Remembers a vector.
    pub fn put(&mut self, name: &str, vector: &[f32]) {
        self.vectors.insert(name.to_owned(), vector.to_vec());
    }

    /// Remembers whole numbers (counters, f64 bits, stream positions).
    pub fn put_numbers(&mut self, name: &str, numbers: &[u64]) {
        self.numbers.insert(name.to_owned(), numbers.to_vec());
    }

    /// Puts everything of `inner` under `prefix/`.
    pub fn put_all(&mut self, prefix: &str, inner: State) {
        self.vectors.extend(inner.vectors.into_iter().map(|(k, v)| (format!("{prefix}/{k}"), v)));
        self.numbers.extend(inner.numbers.into_iter().map(|(k, v)| (format!("{prefix}/{k}"), v)));
    }

    /// What lies under `prefix/`, with the prefix removed.
    #[must_use]
    pub fn part(&self, prefix: &str) -> State {
        fn under<V: Clone>(map: &BTreeMap<String, V>, prefix: &str) -> BTreeMap<String, V> {
            map.iter()
                .filter_map(|(k, v)| {
                    let rest = k.strip_prefix(prefix)?.strip_prefix('/')?;
                    Some((rest.to_owned(), v.clone()))
                })
                .collect()
        }
        State { vectors: under(&self.vectors, prefix), numbers: under(&self.numbers, prefix) }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty() && self.numbers.is_empty()
    }

    /// Whether anything lies under `prefix/`.
    pub fn has(&self, prefix: &str) -> bool {
        let under = |key: &String| key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        self.vectors.keys().any(under) || self.numbers.keys().any(under)
    }

    /// What lies under each first step of a path, by that step.
    #[must_use]
    pub fn families(self) -> BTreeMap<String, State> {
        let mut families = BTreeMap::<String, State>::new();
        for (path, vector) in self.vectors {
            if let Some((first, rest)) = path.split_once('/') {
                families.entry(first.to_owned()).or_default().vectors.insert(rest.to_owned(), vector);
            }
        }
        for (path, numbers) in self.numbers {
            if let Some((first, rest)) = path.split_once('/') {
                families.entry(first.to_owned()).or_default().numbers.insert(rest.to_owned(), numbers);
            }
        }
        families
    }

    /// Copies the vector `name` into `out`.
    pub fn take(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let found =
            self.vectors.get(name).ok_or_else(|| Error::mismatch(format!("the checkpoint has no vector `{name}`")))?;
        if found.len() != out.len() {
            return Err(Error::mismatch(format!(
                "the checkpoint's vector `{name}` has {} entries, the run needs {}",
                found.len(),
                out.len()
            )));
        }
        out.copy_from_slice(found);
        Ok(())
    }

    /// The numbers `name`, of which there must be `N`.
    pub fn take_numbers<const N: usize>(&self, name: &str) -> Result<[u64; N]> {
        self.numbers
            .get(name)
            .and_then(|n| n.as_slice().try_into().ok())
            .ok_or_else(|| Error::mismatch(format!("the checkpoint has no {N} numbers `{name}`")))
    }
}

/// What the ranks of a run remembered, in rank order: what a run with another number of ranks goes on from.
///
/// Names are paths below the part that was asked for. What comes out depends on the old ranks alone, so that all new
/// ones find the same. Means are summed in f64 in rank order and rounded once: of equal numbers they are these numbers.
#[derive(Clone, Debug)]
pub struct Former<'a> {
    states: Vec<&'a State>,
    weights: Vec<f64>,
    crowd: f64,
    prefix: String,
}

impl<'a> Former<'a> {
    /// What these ranks remembered. They count in means as `weights` say, one number a rank, or all alike.
    pub fn new(states: Vec<&'a State>, weights: &[f32], crowd: f64) -> Self {
        let given = weights.len() == states.len() && weights.iter().sum::<f32>() > 0.0;
        let weight = |rank: usize| if given { f64::from(weights[rank]) } else { 1.0 };
        Self { weights: (0..states.len()).map(weight).collect(), states, crowd, prefix: String::new() }
    }

    /// How many times more the old ranks' words add up to than the new ones', where all say the same: 1 but for sums.
    pub fn crowd(&self) -> f64 {
        self.crowd
    }

    /// What lies under `prefix/`.
    #[must_use]
    pub fn part(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{prefix}/", self.prefix), ..self.clone() }
    }

    /// What each rank remembered, in rank order.
    pub fn each(&self) -> impl Iterator<Item = State> {
        self.states.iter().map(|state| match self.prefix.strip_suffix('/') {
            Some(prefix) => state.part(prefix),
            None => (*state).clone(),
        })
    }

    /// What is the same on every rank that remembers it, but for vectors of these names; a difference is an error.
    pub fn same_but(&self, own: &[&str]) -> Result<State> {
        let mut all = State::default();
        for theirs in self.each() {
            for (name, vector) in theirs.vectors.into_iter().filter(|(name, _)| !own.contains(&name.as_str())) {
                let known = all.vectors.entry(name.clone()).or_insert_with(|| vector.clone());
                if !known.iter().map(|x| x.to_bits()).eq(vector.iter().map(|x| x.to_bits())) {
                    return Err(self.differ(&name));
                }
            }
            for (name, numbers) in theirs.numbers {
                if *all.numbers.entry(name.clone()).or_insert_with(|| numbers.clone()) != numbers {
                    return Err(self.differ(&name));
                }
            }
        }
        Ok(all)
    }

    fn differ(&self, name: &str) -> Error {
        Error::mismatch(format!(
            "the checkpoint's ranks disagree about `{}{name}`, which is the same on all ranks of a run; take a checkpoint \
             that one run has made",
            self.prefix
        ))
    }

    /// Puts the mean of a vector, `times` as long, into `state`: a rank that has none counts as zeros, and where nobody
    /// has one there is none.
    pub fn put_mean(&self, name: &str, times: f64, state: &mut State) -> Result<()> {
        let path = format!("{}{name}", self.prefix);
        let vectors = || self.states.iter().zip(&self.weights).filter_map(|(s, w)| Some((s.vectors.get(&path)?, w)));
        let Some((first, _)) = vectors().next() else { return Ok(()) };
        // Minus zero is what adds nothing to any zero.
        let mut sum = vec![-0.0f64; first.len()];
        for (vector, w) in vectors() {
            if vector.len() != sum.len() {
                return Err(self.differ(name));
            }
            sum.iter_mut().zip(vector).for_each(|(s, x)| *s += w * f64::from(*x));
        }
        let weight: f64 = self.weights.iter().sum();
        state.vectors.insert(name.to_owned(), sum.iter().map(|s| (s / weight * times) as f32).collect());
        Ok(())
    }

    /// The means of all vectors, with the numbers, which are the same on every rank.
    pub fn means(&self) -> Result<State> {
        let all: Vec<State> = self.each().collect();
        let names: Vec<&str> = all.iter().flat_map(|state| state.vectors.keys().map(String::as_str)).collect();
        let mut state = self.same_but(&names)?;
        names.iter().try_for_each(|name| self.put_mean(name, 1.0, &mut state))?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_a_vector_of_their_own() {
        let layout = Layout::new([
            Tensor::new("a", &[2, 3], Role::Weight),
            Tensor::new("mean", &[3], Role::Buffer),
            Tensor::new("b", &[3], Role::Bias),
        ]);
        assert_eq!((layout.len(), layout.buffer_len()), (9, 3));
        assert_eq!(layout.ranges(), [0..6, 6..9]);
        assert!(layout.expect("gradient", &[0.0; 8]).unwrap_err().to_string().contains("8 entries"));
    }

    #[test]
    fn reductions_do_not_depend_on_how_the_tail_falls() {
        let x: Vec<f32> = (0..1003u16).map(|i| f32::from(i).sin() * 1e3).collect();
        let plain: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((squared_norm(&x) - plain).abs() < 1e-9 * plain);
        assert_eq!(dot(&x, &x), squared_norm(&x));
        assert_eq!(distance(&x, &x), 0.0);
    }

    #[test]
    fn extremes_are_found_wherever_they_lie() {
        for at in [0, 15, 16, 40, 50] {
            let mut x = vec![0.5f32; 51];
            x[at] = -3.0;
            x[(at + 7) % 51] = 2.0;
            assert_eq!((extremes(&x), max_abs(&x)), ((-3.0, 2.0), 3.0));
        }
        assert_eq!((extremes(&[]), max_abs(&[])), ((f32::INFINITY, f32::NEG_INFINITY), 0.0));
    }

    #[test]
    fn one_bad_entry_is_found() {
        let mut x = vec![1.0f32; 10_000];
        assert!(is_finite(&x));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[9_999] = bad;
            assert!(!is_finite(&x));
        }
    }

    #[test]
    fn state_is_nested_and_refuses_what_it_lacks() {
        let mut inner = State::default();
        inner.put("e", &[1.0, 2.0]);
        inner.put_numbers("step", &[4]);
        let mut outer = State::default();
        outer.put_all("feedback", inner.clone());
        assert_eq!(outer.part("feedback"), inner);
        let mut out = [0.0; 3];
        assert!(outer.part("feedback").take("e", &mut out).is_err());
        assert!(outer.take("e", &mut [0.0; 2]).is_err());
        assert_eq!(inner.take_numbers::<1>("step").unwrap(), [4]);
    }

    #[test]
    fn what_ranks_remember_becomes_one_whoever_asks() {
        let of = |own: &[f32], steps: u64| {
            let mut state = State::default();
            state.put("feedback/residual", own);
            state.put("outer/momentum", &[-0.0, 7.1]);
            state.put_numbers("outer/steps", &[steps]);
            state
        };
        let states = [of(&[1.0, 0.1], 3), of(&[2.0, 0.1], 3), of(&[6.0, 0.1], 3)];
        let former = Former::new(states.iter().collect(), &[], 2.0);
        let mut mean = State::default();
        former.part("feedback").put_mean("residual", 1.0, &mut mean).unwrap();
        assert_eq!(mean.vectors["residual"], [3.0, 0.1], "of equal numbers the mean is these");
        let weighed = Former::new(states.iter().collect(), &[3.0, 0.0, 1.0], 2.0).part("feedback");
        weighed.put_mean("residual", weighed.crowd(), &mut mean).unwrap();
        assert_eq!(mean.vectors["residual"], [4.5, 0.2]);
        let outer = former.part("outer").means().unwrap();
        assert_eq!(outer, states[0].part("outer"));
        assert!(outer.vectors["momentum"][0].is_sign_negative());
        let refused = former.part("feedback").same_but(&[]).unwrap_err().to_string();
        assert!(refused.contains("`feedback/residual`"), "{refused}");
        let later = of(&[1.0, 0.1], 4);
        let refused = Former::new(vec![&states[0], &later], &[], 1.0).part("outer").means().unwrap_err().to_string();
        assert!(refused.contains("`outer/steps`"), "{refused}");
        // Who remembers nothing owes nothing.
        let nothing = State::default();
        let some = Former::new(vec![&states[1], &nothing], &[], 1.0);
        some.part("feedback").put_mean("residual", 1.0, &mut mean).unwrap();
        assert_eq!(mean.vectors["residual"], [1.0, 0.05]);
        assert_eq!(some.part("outer").same_but(&[]).unwrap(), outer);
    }
}
