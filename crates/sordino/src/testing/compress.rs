//! What every [`Compressor`] must keep, on several layouts and inputs.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::{Layout, Reader, Role, State, Stream, Tensor, Use, Writer, flat};
use crate::compress::{Both, Class, Coding, Compressor, Hands, cut, nearest};

/// Streams over which expectations are averaged.
const ROUNDS: u64 = 300;

/// Below this f32 has no full precision; promises are kept up to so much an entry.
const FLOOR: f64 = f32::MIN_POSITIVE as f64;

/// A NaN that no decoder writes, to see what was left unwritten.
const UNWRITTEN: u32 = 0x7FA5_5A5A;

/// Runs every check against fresh compressors from `make`.
///
/// Checks, for each layout and input: the byte bound; the same bytes and the same vector again, also from a compressor
/// with a history; and from two hands, whichever is first; what is added to a sum as it is decoded gives the bits of decoding and adding; the promise of the
/// declared class; given = said + kept up to one unit in the last place; damaged messages are errors or vectors; the laws of the linear face, of one phase or two; and chunks, where it may run on
/// them: each keeps the promises, and cuts at seams change nothing.
///
/// # Panics
/// Where a promise is broken.
pub fn suite(make: &dyn Fn() -> Box<dyn Compressor>) {
    for (shape, layout) in layouts() {
        for (kind, given) in inputs(layout.len()) {
            let case = Case { name: format!("{kind} on {shape}"), layout: &layout, given: &given };
            case.coding(make);
            case.adding(make);
            case.two_hands(make);
            case.class(make);
            case.damage(make);
            case.linear(make);
            case.chunks(make);
        }
    }
}

/// Beside [`suite`], for selections and `half`: given = said + kept bit for bit (a zero may lose its sign).
///
/// # Panics
/// Where something is lost.
pub fn conserves_exactly(make: &dyn Fn() -> Box<dyn Compressor>) {
    for (shape, layout) in layouts() {
        for (kind, given) in inputs(layout.len()) {
            let mut compressor = make();
            let case = Case { name: format!("{kind} on {shape}"), layout: &layout, given: &given };
            for (i, (said, given)) in case.said(&mut *compressor, 0).iter().zip(&given).enumerate() {
                let kept = given - said;
                if compressor.saturated() == 0 {
                    assert!(said + kept == *given, "{}: entry {i}: {said:e} + {kept:e} is not {given:e}", case.name);
                }
            }
        }
    }
}

fn layouts() -> Vec<(&'static str, Layout)> {
    let of = |lengths: &[usize]| {
        Layout::new(lengths.iter().enumerate().map(|(i, n)| Tensor::new(format!("t{i}"), &[*n], Role::Weight)))
    };
    let shapes: [&[usize]; 5] = [&[12, 20], &[8], &[6, 2, 3, 3], &[1, 70], &[5, 0]];
    let matrices =
        Layout::new(shapes.iter().enumerate().map(|(i, shape)| Tensor::new(format!("m{i}"), shape, Role::Weight)));
    vec![
        ("one entry", Layout::vector(1)),
        ("one short vector", Layout::vector(20)),
        ("tensors of many lengths", of(&[1, 10, 64, 100, 5000])),
        ("tensors, some empty", of(&[0, 70, 0, 3, 0])),
        ("nothing", of(&[0, 0])),
        ("matrices", matrices),
    ]
}

fn inputs(n: usize) -> Vec<(&'static str, Vec<f32>)> {
    let mut stream = Stream::new(1, Use::Problem, 0, n as u64);
    let normal: Vec<f32> = (0..n).map(|_| stream.normal()).collect();
    let scaled = |c: f32| normal.iter().map(|v| v * c).collect();
    let mut one_hot = vec![0.0; n];
    if let Some(v) = one_hot.get_mut(n / 2) {
        *v = -3.0;
    }
    vec![
        ("normal entries", normal.clone()),
        ("heavy tails", normal.iter().map(|v| v * v * v * v * v).collect()),
        ("zeros", vec![0.0; n]),
        ("a constant", vec![0.7; n]),
        ("one spike", one_hot),
        ("tiny entries", scaled(1e-30)),
        ("huge entries", scaled(1e30)),
        ("subnormal entries", scaled(1e-41)),
    ]
}

struct Case<'a> {
    name: String,
    layout: &'a Layout,
    given: &'a [f32],
}

impl Case<'_> {
    fn encode(&self, compressor: &mut dyn Compressor, round: u64) -> Vec<u8> {
        self.with(round, |at| {
            let mut out = self.used();
            compressor
                .encode(self.given, at, &mut out)
                .unwrap_or_else(|e| panic!("{}: a finite vector must be encoded, but: {e}", self.name));
            out.bytes().to_vec()
        })
    }

    /// A writer whose memory holds other bytes every time: what a leaf does not fill shows.
    fn used(&self) -> Writer {
        static USES: AtomicU8 = AtomicU8::new(0);
        let mut out = Writer::new();
        out.raw(&vec![USES.fetch_add(37, Ordering::Relaxed); 4 * self.given.len() + 256]);
        out.clear();
        out
    }

    fn with<T>(&self, round: u64, act: impl FnOnce(&Coding) -> T) -> T {
        let (stream, shared) = (Stream::new(7, Use::Encode, 3, round), Stream::new(7, Use::Shared, 0, round));
        act(&Coding { layout: self.layout, stream: &stream, shared: &shared })
    }

    /// Decodes bytes that may be damaged; what comes back is a whole vector or nothing.
    fn decode(&self, compressor: &mut dyn Compressor, bytes: &[u8]) -> Option<Vec<f32>> {
        let mut out = vec![f32::from_bits(UNWRITTEN); self.layout.len()];
        let mut body = Reader::new(bytes);
        let read = compressor.decode(&mut body, self.layout, &mut out).and_then(|()| body.done());
        if read.is_ok() {
            let unwritten = out.iter().position(|v| v.to_bits() == UNWRITTEN);
            assert!(unwritten.is_none(), "{}: decoding succeeded but left entry {unwritten:?} unwritten", self.name);
        }
        read.ok().map(|()| out)
    }

    fn said(&self, compressor: &mut dyn Compressor, round: u64) -> Vec<f32> {
        let bytes = self.encode(compressor, round);
        self.decode(compressor, &bytes)
            .unwrap_or_else(|| panic!("{}: what was encoded must decode and leave nothing over", self.name))
    }

    fn coding(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let (mut used, mut fresh) = (make(), make());
        let bytes = self.encode(&mut *used, 0);
        let bound = used.bound(self.layout);
        assert!(bytes.len() <= bound, "{}: {} bytes were written, {bound} promised", self.name, bytes.len());
        let said = self.said(&mut *used, 0);
        self.said(&mut *used, 1);
        assert_eq!(self.encode(&mut *used, 0), bytes, "{}: encoding again gave other bytes", self.name);
        assert_eq!(self.encode(&mut *fresh, 0), bytes, "{}: a fresh encoder gave other bytes", self.name);
        let mut receiver = make();
        for _ in 0..2 {
            let again = self.decode(&mut *receiver, &bytes).unwrap_or_default();
            assert!(same_bits(&again, &said), "{}: a receiver decodes another vector", self.name);
        }
        for (i, (&given, &said)) in self.given.iter().zip(&said).enumerate() {
            assert!(said.is_finite(), "{}: entry {i} was {given:e} and is said to be {said}", self.name);
            let kept = given - said;
            let larger = said.abs().max(kept.abs());
            let gap = (f64::from(said + kept) - f64::from(given)).abs();
            let unit = f64::from(larger.next_up()) - f64::from(larger);
            assert!(gap <= unit, "{}: entry {i}: {said:e} + {kept:e} is not {given:e}", self.name);
        }
    }

    /// Several weights, sums with zeros of both signs and without, damage.
    fn adding(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let mut compressor = make();
        let bytes = self.encode(&mut *compressor, 0);
        let sums = [
            self.given.iter().rev().map(|v| 0.5 * v).collect::<Vec<_>>(),
            (0..self.layout.len()).map(|i| [1.0, -3.5e-3, 1e10][i % 3]).collect(),
            (0..self.layout.len()).map(|i| [0.0, -0.0][i % 2]).collect(),
        ];
        for (sum, weight) in sums.iter().zip([1.0, 37.0, 0.7]).chain(sums.iter().zip([3.0, 1.0, 0.0])) {
            self.added(&mut *compressor, &bytes, weight, sum);
        }
        let mut stream = Stream::new(5, Use::Fault, 0, 0);
        for _ in 0..bytes.len().min(64) {
            let mut damaged = bytes.clone();
            damaged[stream.below(bytes.len() as u64) as usize] ^= 1 << stream.below(8);
            self.added(&mut *compressor, &damaged, 3.0, &sums[1]);
        }
        self.added(&mut *compressor, &bytes[..bytes.len() / 2], 1.0, &sums[1]);
    }

    fn added(&self, compressor: &mut dyn Compressor, bytes: &[u8], weight: f32, onto: &[f32]) {
        let (mut sum, mut spare, mut body) = (onto.to_vec(), vec![9.0], Reader::new(bytes));
        let added = compressor.add(&mut body, self.layout, weight, &mut sum, &mut spare).and_then(|()| body.done());
        let said = self.decode(compressor, bytes);
        assert_eq!(added.is_ok(), said.is_some(), "{}: what is decoded is not what is added", self.name);
        let Some(said) = said else { return };
        let mut wanted = onto.to_vec();
        flat::add_scaled(&mut wanted, weight, &said);
        let differs =
            sum.iter().zip(&wanted).position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
        assert!(differs.is_none(), "{}: adding {weight} times gives other bits in entry {differs:?}", self.name);
    }

    /// Whichever of the two is done first, what is written, read and refused is what one alone writes, reads and refuses.
    fn two_hands(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let orders: [Both; 2] = [
            |first, second| {
                first();
                second();
            },
            |first, second| {
                second();
                first();
            },
        ];
        let mut alone = make();
        let bytes = self.encode(&mut *alone, 0);
        let mut damaged = vec![bytes[..bytes.len() / 2].to_vec()];
        let mut stream = Stream::new(5, Use::Fault, 0, 0);
        for _ in 0..bytes.len().min(16) {
            let mut one = bytes.clone();
            one[stream.below(bytes.len() as u64) as usize] ^= 1 << stream.below(8);
            damaged.push(one);
        }
        for both in orders {
            let mut two = make();
            two.lend(Hands { both, least: 1 });
            assert_eq!(self.encode(&mut *two, 0), bytes, "{}: two hands write other bytes", self.name);
            for bytes in [&bytes].into_iter().chain(&damaged) {
                let bits = |said: Option<Vec<f32>>| said.map(|x| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
                let (wanted, came) = (bits(self.decode(&mut *alone, bytes)), bits(self.decode(&mut *two, bytes)));
                assert_eq!(came, wanted, "{}: two hands read something else", self.name);
                self.added(&mut *two, bytes, 3.0, self.given);
            }
        }
    }

    fn class(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let mut compressor = make();
        let class = compressor.class(self.layout);
        let first = self.encode(&mut *compressor, 0);
        if class == Class::Lossless {
            assert!(same_bits(&self.said(&mut *compressor, 0), self.given), "{}: not lossless", self.name);
            return;
        }
        let n = self.layout.len();
        let square = flat::squared_norm(self.given);
        let (mut draws, mut sum, mut squares, mut most) = (false, 0.0, 0.0, 0.0f64);
        let (mut mean, mut spread) = (vec![0.0f64; n], vec![0.0f64; n]);
        for round in 0..ROUNDS {
            draws |= self.encode(&mut *compressor, round) != first;
            let said = self.said(&mut *compressor, round);
            let error = flat::distance(&said, self.given).powi(2);
            sum += error;
            squares += error * error;
            most = most.max(error);
            for (((mean, spread), said), given) in mean.iter_mut().zip(&mut spread).zip(&said).zip(self.given) {
                let gap = f64::from(*said) - f64::from(*given);
                *mean += gap / ROUNDS as f64;
                *spread += gap * gap / ROUNDS as f64;
            }
        }
        let rounds = ROUNDS as f64;
        let error = sum / rounds;
        let bound = class.factor() * square;
        // Six standard errors: of what was seen, and of the worst that a variable of this mean and range can have.
        let seen = (squares / rounds - error * error).max(0.0);
        let worst = (bound * (most.max(square) - bound)).max(0.0);
        let sampling = if draws { 6.0 * (seen.max(worst) / rounds).sqrt() } else { 0.0 };
        let rounding = 1e-5 * square.min(bound + 1e-6 * square) + n as f64 * FLOOR * FLOOR;
        assert!(
            error <= bound + sampling + rounding,
            "{}: promised an error of {:e} at most, came {error:e} (sampling {sampling:e})",
            self.name,
            bound
        );
        if let Class::Unbiased { omega } = class {
            self.unbiased(omega, &mean, &spread);
        }
    }

    /// `mean` and `spread`: over the rounds, of said − given and of its square.
    fn unbiased(&self, omega: f64, mean: &[f64], spread: &[f64]) {
        let (rounds, norm) = (ROUNDS as f64, flat::norm(self.given));
        let rounding = 1e-5 * norm + FLOOR;
        let far = 6.0 * norm * (omega / rounds).sqrt() + rounding;
        for (i, gap) in mean.iter().enumerate() {
            assert!(gap.abs() <= far, "{}: entry {i} is off by {gap:e} in the mean, {far:e} allowed", self.name);
        }
        // All entries together: the squared mean error is the variance over the number of rounds, or there is a bias.
        // Only where every entry is rounded often both ways is the seen variance the true one.
        let (bias, variance): (f64, f64) = (mean.iter().map(|g| g * g).sum(), spread.iter().sum());
        if self.name.starts_with("normal") && self.layout.len() > 1000 {
            let expected = variance / rounds;
            assert!(
                bias <= 2.0 * expected + rounding * rounding,
                "{}: the squared error of the mean is {bias:e}, {expected:e} was expected: there is a bias",
                self.name
            );
        }
    }

    fn damage(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let mut compressor = make();
        let bytes = self.encode(&mut *compressor, 0);
        for parts in 0..8 {
            self.decode(&mut *compressor, &bytes[..bytes.len() * parts / 8]);
        }
        let mut stream = Stream::new(5, Use::Fault, 0, 0);
        let mut damaged = bytes.clone();
        for _ in 0..bytes.len().min(64) {
            let at = stream.below(bytes.len() as u64) as usize;
            damaged[at] ^= 1 << stream.below(8);
            self.decode(&mut *compressor, &damaged);
        }
        for fill in [0x00, 0x7F, 0x80, 0xFF] {
            self.decode(&mut *compressor, &vec![fill; bytes.len()]);
        }
        let again = self.encode(&mut *compressor, 0);
        assert_eq!(again, bytes, "{}: damaged messages changed the encoder", self.name);
    }

    fn linear(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let mut compressor = make();
        let class = compressor.class(self.layout);
        let a = self.given;
        let b: Vec<f32> = a.iter().rev().map(|v| 0.5 * v).collect();
        let said = self.said(&mut *compressor, 0);
        let Some(linear) = compressor.linear() else { return };
        if linear.two_phases() {
            return self.two_phases(make, class, &b);
        }
        self.with(0, |at| {
            let len = linear.short_len(self.layout);
            let mut lifted = |given: &[&[f32]]| {
                let (mut total, mut short) = (vec![0.0; len], vec![9.0]);
                for v in given {
                    linear.project(v, at, &mut short);
                    assert_eq!(short.len(), len, "{}: the short vector has another length than promised", self.name);
                    flat::add(&mut total, &short);
                }
                let mut out = vec![f32::from_bits(UNWRITTEN); self.layout.len()];
                linear.lift(&total, at, &mut out);
                out
            };
            let (of_a, of_b, of_both) = (lifted(&[a]), lifted(&[&b]), lifted(&[a, &b]));
            let mut sum = of_a.clone();
            flat::add(&mut sum, &of_b);
            let slack = 1e-6 * (flat::norm(a) + flat::norm(&b)) + FLOOR;
            let off = |x: &[f32], y: &[f32]| flat::distance(x, y) > slack;
            assert!(!off(&of_a, &said), "{}: lift(project(v)) is not what a message says", self.name);
            assert!(!off(&of_both, &sum), "{}: lifting a sum is not the sum of what was lifted", self.name);
            if !matches!(class, Class::Clipping | Class::Bounded { .. }) {
                let mut both = a.to_vec();
                flat::add(&mut both, &b);
                assert!(!off(&of_both, &lifted(&[&both])), "{}: project is not linear", self.name);
            }
        });
    }
}

impl Case<'_> {
    /// Chunks of about a third, and pieces of about a seventh.
    fn chunks(&self, make: &dyn Fn() -> Box<dyn Compressor>) {
        let places = |step: usize, parts: usize| {
            let mut ends: Vec<usize> =
                (0..=parts).map(|i| nearest(self.layout, step, self.layout.len() * i / parts)).collect();
            ends.dedup();
            ends
        };
        if let Some(grain) = make().grain(self.layout) {
            for ends in places(grain, 3).windows(2) {
                let (range, name) = (ends[0]..ends[1], format!("{}, entries {} to {}", self.name, ends[0], ends[1]));
                let chunk = Case { name, layout: &cut(self.layout, &range), given: &self.given[range] };
                chunk.coding(make);
                chunk.class(make);
            }
        }
        if let Some(seam) = make().seam(self.layout) {
            let mut compressor = make();
            let (whole, mut first, mut said) = (self.said(&mut *compressor, 0), 0, Vec::new());
            for ends in places(seam, 7).windows(2) {
                let range = ends[0]..ends[1];
                let piece =
                    Case { name: self.name.clone(), layout: &cut(self.layout, &range), given: &self.given[range] };
                said.extend(piece.said_from(&mut *compressor, first));
                first += compressor.parts(piece.layout);
            }
            assert!(same_bits(&whole, &said), "{}: pieces between seams say something else", self.name);
        }
    }

    /// What is said where parts of the streams begin at `first`.
    fn said_from(&self, compressor: &mut dyn Compressor, first: u64) -> Vec<f32> {
        let bytes = self.with(0, |at| {
            let (stream, shared) = (at.stream.from_part(first), at.shared.from_part(first));
            let mut out = self.used();
            let at = Coding { stream: &stream, shared: &shared, ..*at };
            compressor.encode(self.given, &at, &mut out).unwrap_or_else(|e| panic!("{}: {e}", self.name));
            out.bytes().to_vec()
        });
        self.decode(compressor, &bytes).unwrap_or_else(|| panic!("{}: a piece must decode", self.name))
    }

    /// Two ranks agree round after round, and so does one that takes over from a checkpoint.
    fn two_phases(&self, make: &dyn Fn() -> Box<dyn Compressor>, class: Class, b: &[f32]) {
        let a = self.given;
        let mean = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| 0.5 * x + 0.5 * y).collect::<Vec<f32>>();
        let wanted = mean(a, b);
        let mut ranks = [make(), make(), make()];
        for round in 0..4 {
            if round == 2 {
                let mut state = State::default();
                ranks[0].save(&mut state);
                ranks[2] = make();
                ranks[2].load(&state, self.layout).unwrap_or_else(|e| panic!("{}: {e}", self.name));
            }
            let agreed = self.with(round, |at| {
                let mut shorts = [vec![9.0], vec![9.0], vec![9.0]];
                for (phase, project) in [true, false].into_iter().enumerate() {
                    for ((compressor, given), short) in ranks.iter_mut().zip([a, b, b]).zip(&mut shorts) {
                        let Some(linear) = compressor.linear() else { panic!("{}: no longer linear", self.name) };
                        if project {
                            linear.project(given, at, short);
                            let len = linear.short_len(self.layout);
                            assert_eq!(short.len(), len, "{}: another length than promised", self.name);
                        } else {
                            linear.refine(given, at, short);
                        }
                    }
                    assert_eq!(shorts[0].len(), shorts[1].len(), "{}: lengths of phase {phase}", self.name);
                    let short = mean(&shorts[0], &shorts[1]);
                    shorts.fill(short);
                }
                let mut lift = |rank: usize| {
                    let mut out = vec![f32::from_bits(UNWRITTEN); self.layout.len()];
                    if let Some(linear) = ranks[rank].linear() {
                        linear.lift(&shorts[0], at, &mut out);
                    }
                    out
                };
                let agreed = lift(0);
                for rank in [1, 2] {
                    assert!(same_bits(&lift(rank), &agreed), "{}: rank {rank} agrees on another vector", self.name);
                }
                agreed
            });
            assert!(flat::is_finite(&agreed), "{}: what is agreed is not finite", self.name);
            if !matches!(class, Class::Clipping | Class::Bounded { .. }) {
                let allowed = if class == Class::Lossless { 0.0 } else { flat::norm(&wanted) };
                let slack = 1e-6 * (flat::norm(a) + flat::norm(b)) + FLOOR * (a.len() as f64).sqrt();
                let far = flat::distance(&agreed, &wanted);
                assert!(far <= allowed + slack, "{}: agreed {far:e} away from the mean", self.name);
            }
        }
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
