//! What every aggregator must keep, ours and a stranger's.

use crate::aggregate::{Aggregator, Gathering};
use crate::base::{Stream, Use};

const LEN: usize = 37;

fn vectors(count: usize) -> Vec<Vec<f32>> {
    (0..count as u64)
        .map(|i| {
            let mut stream = Stream::new(11, Use::Problem, i, 0);
            (0..LEN).map(|_| stream.normal()).collect()
        })
        .collect()
}

fn aggregate(of: &mut dyn Aggregator, vectors: &[Vec<f32>], weight: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut out = vec![f32::NAN; LEN];
    of.begin(&Gathering::of(LEN, vectors.len()));
    for (i, vector) in vectors.iter().enumerate() {
        of.add(vector, weight(i));
    }
    of.finish(&mut out);
    out
}

/// Holds an aggregator to its contract.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite(make: &dyn Fn() -> Box<dyn Aggregator>) {
    for count in [1, 2, 3, 8] {
        let (mut some, all) = (make(), vectors(count));
        let once = aggregate(&mut *some, &all, |_| 1.0);
        assert!(once.iter().all(|v| v.is_finite()), "the aggregate of {count} vectors is not written whole");
        assert_eq!(once, aggregate(&mut *some, &all, |_| 1.0), "a second aggregation remembers the first");
        assert_eq!(once, aggregate(&mut *make(), &all, |_| 1.0), "the same vectors give other bits");
        let backwards: Vec<_> = all.iter().rev().cloned().collect();
        for (a, b) in once.iter().zip(aggregate(&mut *some, &backwards, |_| 1.0)) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "the order of {count} vectors matters: {a} or {b}");
        }
        let same = vec![all[0].clone(); count];
        for (a, b) in all[0].iter().zip(aggregate(&mut *some, &same, |i| 1.0 + i as f32)) {
            assert!((a - b).abs() <= 1e-6 * (1.0 + a.abs()), "{count} times {a} became {b}");
        }
    }
    let liars = make().withstands(8);
    assert!(liars < 4, "nobody withstands {liars} liars of 8");
}
