//! What every aggregator must keep, ours and a stranger's.

use crate::aggregate::{Aggregator, Gathering, Onto};
use crate::base::{Kind, Layout, State, Stream, Use, flat};

const LEN: usize = 37;

/// How many meetings one that goes on from its last aggregate may take to settle.
const MEETINGS: usize = 10_000;

type Make<'a> = &'a dyn Fn() -> Box<dyn Aggregator>;

fn normals(client: u64, deviation: f32) -> Vec<f32> {
    let mut stream = Stream::new(11, Use::Problem, client, 0);
    (0..LEN).map(|_| deviation * stream.normal()).collect()
}

fn vectors(count: usize) -> Vec<Vec<f32>> {
    (0..count as u64).map(|i| normals(i, 1.0)).collect()
}

fn gathering(count: usize, round: u64) -> Gathering {
    Gathering { round, ..Gathering::of(LEN, count) }
}

fn meet(of: &mut dyn Aggregator, vectors: &[Vec<f32>], round: u64, weight: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut out = vec![f32::NAN; LEN];
    of.begin(&gathering(vectors.len(), round)).expect("what was begun once is not refused the next time");
    for (i, vector) in vectors.iter().enumerate() {
        of.add(vector, weight(i));
    }
    of.finish(&mut out);
    out
}

fn alike(_: usize) -> f32 {
    1.0
}

/// The aggregate, once it has settled.
fn settle(of: &mut dyn Aggregator, vectors: &[Vec<f32>], weight: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut found = meet(of, vectors, 0, &weight);
    if of.remembers() {
        let still = (0..MEETINGS).any(|_| {
            let next = meet(of, vectors, 0, &weight);
            let moved = flat::distance(&found, &next);
            found = next;
            moved <= 1e-6 * (1.0 + flat::norm(&found))
        });
        assert!(still, "told the same vectors {MEETINGS} times it does not settle");
    }
    found
}

fn near(what: &str, a: &[f32], b: &[f32], slack: f32) {
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= slack * (1.0 + a.abs()), "{what}: {a} or {b}");
    }
}

/// Holds an aggregator to its contract.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite(make: Make) {
    let mut worked = false;
    for count in [1, 2, 3, 5, 8, 12] {
        if let Err(e) = make().begin(&gathering(count, 0)) {
            assert_eq!(e.kind(), Kind::Request, "too few voices are a wrong request");
            assert_eq!(make().withstands(count), 0, "{count} voices are refused, and liars among them withstood");
            continue;
        }
        worked = true;
        order(make, count);
        memory(make, count);
        sums(make, count);
        unanimity_and_translation(make, count);
        breakdown(make, count);
        entries(make, count);
    }
    assert!(worked, "it works with no number of voices");
    let liars = make().withstands(8);
    assert!(liars < 4, "nobody withstands {liars} liars of 8");
}

/// The same vectors in the same order give the same bits, in another order the same but for rounding. One that says it
/// is not blind to order must show it: in some round another order matters.
fn order(make: Make, count: usize) {
    let all = vectors(count);
    let backwards: Vec<_> = all.iter().rev().cloned().collect();
    let mut mattered = false;
    for round in 0..8 {
        let once = meet(&mut *make(), &all, round, alike);
        assert!(once.iter().all(|v| v.is_finite()), "the aggregate of {count} vectors is not written whole");
        assert_eq!(once, meet(&mut *make(), &all, round, alike), "the same vectors give other bits");
        let other = meet(&mut *make(), &backwards, round, alike);
        if make().blind_to_order() {
            near(&format!("the order of {count} vectors matters"), &once, &other, 1e-5);
        }
        mattered |= flat::distance(&once, &other) > 1e-3;
    }
    assert!(mattered || make().blind_to_order() || count < 8, "it is blind to the order of {count} and denies it");
}

/// One that says it remembers nothing gives the same bits again and saves nothing; one that remembers goes on from what
/// it saved as if it had never stopped.
fn memory(make: Make, count: usize) {
    let (mut some, all) = (make(), vectors(count));
    let once = meet(&mut *some, &all, 0, alike);
    let mut state = State::default();
    some.save(&mut state);
    let again = meet(&mut *some, &all, 0, alike);
    if !some.remembers() {
        assert_eq!(once, again, "a second aggregation remembers the first");
        assert!(state.is_empty(), "it remembers nothing and saves something");
    }
    let mut other = make();
    other.load(&state, &Layout::vector(LEN)).expect("what it saved is taken back");
    assert_eq!(again, meet(&mut *other, &all, 0, alike), "after a checkpoint it goes on elsewhere");
    other.load(&State::default(), &Layout::vector(LEN)).expect("a checkpoint from before the first meeting is taken");
    assert_eq!(once, meet(&mut *other, &all, 0, alike), "a new beginning is none");
}

/// One that lends its running sum gives the same bits, whoever of the voices is added to it, also where all say −0.
fn sums(make: Make, count: usize) {
    let mut all = vectors(count);
    for (i, v) in all.iter_mut().flatten().enumerate() {
        *v = [*v, -0.0, *v, if i % 2 == 0 { 0.0 } else { -0.0 }][i % LEN % 4];
    }
    let (mut told, mut lent) = (make(), make());
    let some: [fn(usize) -> bool; 3] = [|_| true, |i| i % 2 == 0, |i| i % 2 == 1];
    for lends in some {
        let wanted = meet(&mut *told, &all, 0, |i| 1.0 + i as f32);
        let mut out = vec![f32::NAN; LEN];
        lent.begin(&gathering(count, 0)).expect("what was begun once is not refused the next time");
        for (i, vector) in all.iter().enumerate() {
            let weight = 1.0 + i as f32;
            let onto = if lends(i) { lent.onto(weight) } else { None };
            match onto {
                Some(Onto::First(sum)) => sum.copy_from_slice(vector),
                Some(Onto::More(sum, weight)) => flat::add_scaled(sum, weight, vector),
                None => lent.add(vector, weight),
            }
        }
        lent.finish(&mut out);
        let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&wanted), bits(&out), "what is added to the sum that it lends is not what is told");
    }
}

/// Unanimous in is unanimous out times the gain, once it has settled; and one that starts where all vectors have been
/// moved to finds its aggregate moved alike.
fn unanimity_and_translation(make: Make, count: usize) {
    let (all, mut by) = (vectors(count), normals(99, 3.0));
    let gain = make().gain(count as f64, count as f64);
    assert!(gain.is_finite() && gain > 0.0, "{count} times the same are multiplied by {gain}");
    let times = |vector: &[f32]| vector.iter().map(|v| gain as f32 * v).collect::<Vec<_>>();
    let found = settle(&mut *make(), &vec![all[0].clone(); count], |i| 1.0 + i as f32);
    near(&format!("{count} times the same became another than {gain} times it"), &times(&all[0]), &found, 1e-6);
    let (mut here, mut there) = (make(), make());
    settle(&mut *here, &vec![vec![0.0; LEN]; count], alike);
    settle(&mut *there, &vec![by.clone(); count], alike);
    let moved: Vec<Vec<f32>> = all.iter().map(|v| v.iter().zip(&by).map(|(a, b)| a + b).collect()).collect();
    let (mut expected, found) = (meet(&mut *here, &all, 0, alike), meet(&mut *there, &moved, 0, alike));
    by = times(&by);
    flat::add(&mut expected, &by);
    near(&format!("{count} vectors were moved, their aggregate otherwise"), &expected, &found, 1e-5);
}

/// One that says it treats every entry by itself gives the same bits whether vectors are told whole or in two parts.
fn entries(make: Make, count: usize) {
    if !make().by_entry() {
        return;
    }
    let (all, mut some) = (vectors(count), make());
    assert!(!some.remembers(), "what is remembered is of whole vectors");
    let (whole, mut parts) = (meet(&mut *some, &all, 3, alike), vec![f32::NAN; LEN]);
    for part in [0..LEN / 3, LEN / 3..LEN] {
        some.begin(&Gathering { len: part.len(), ..gathering(count, 3) }).expect("a part is not refused");
        for vector in &all {
            some.add(&vector[part.clone()], 1.0);
        }
        some.finish(&mut parts[part]);
    }
    assert_eq!(whole, parts, "entry by entry {count} vectors come to something else");
}

/// As many liars as it says it withstands, whatever finite vectors they send and wherever they sit, leave the aggregate
/// near the honest.
///
/// With R the greatest distance of h honest vectors from their mean, the coordinate-wise median of all is within √h·R of
/// it, and whatever has from there no larger sum of distances to all, liars f included, within 2h(1 + √h)R/(h − f) more.
/// No honest rule needs more room than that, unless it was given a length of its own beyond R (a clipping radius).
fn breakdown(make: Make, count: usize) {
    let liars = make().withstands(count);
    assert!(2 * liars < count, "nobody withstands {liars} liars of {count}");
    if liars == 0 {
        return;
    }
    let honest = vectors(count - liars);
    let mut mean = vec![0.0; LEN];
    for v in &honest {
        flat::add(&mut mean, v);
    }
    flat::divide(&mut mean, honest.len() as f32);
    let spread = honest.iter().map(|v| flat::distance(v, &mean)).fold(0.0, f64::max);
    let h = honest.len() as f64;
    let bound = spread * (h.sqrt() + 2.0 * h * (1.0 + h.sqrt()) / (h - liars as f64));
    let each = |lie: &dyn Fn(usize) -> Vec<f32>| (0..liars).map(lie).collect::<Vec<_>>();
    for (what, lies) in [
        ("at 1e6 together", each(&|_| vec![1e6; LEN])),
        ("at -1e6 together", each(&|_| vec![-1e6; LEN])),
        ("at 1e6 in all directions", each(&|i| normals(200 + i as u64, 1e6))),
        ("twenty times as far as the honest", each(&|i| normals(300 + i as u64, 20.0))),
        ("at the ends of f32", each(&|i| vec![if i % 2 == 0 { f32::MAX } else { f32::MIN }; LEN])),
    ] {
        for all in [[lies.clone(), honest.clone()].concat(), [honest.clone(), lies.clone()].concat()] {
            let found = settle(&mut *make(), &all, alike);
            assert!(found.iter().all(|v| v.is_finite()), "{liars} liars of {count} {what} left something not finite");
            let off = flat::distance(&found, &mean);
            assert!(off <= bound, "{liars} liars of {count} {what} moved it by {off}, more than {bound}");
        }
    }
}
