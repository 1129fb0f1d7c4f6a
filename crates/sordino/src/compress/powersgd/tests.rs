use super::*;
use crate::base::{Role, Use};

fn matrix(n: usize, m: usize) -> Layout {
    Layout::new([Tensor::new("m", &[n, m], Role::Weight)])
}

fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, Use::Problem, 0, 0);
    (0..n).map(|_| stream.normal()).collect()
}

#[test]
fn products_are_those_of_the_schoolbook_whatever_the_shape() {
    for (n, m, r) in [(1, 1, 1), (3, 5, 2), (4, 8, 4), (9, 1030, 3), (13, 2049, 5), (7, 31, 7)] {
        let (matrix, q, p) = (normals(1, n * m), normals(2, m * r), normals(3, n * r));
        let close = |x: f32, y: f64| (f64::from(x) - y).abs() < 1e-4;
        let at = |v: &[f32], i: usize| f64::from(v[i]);
        let (mut left, mut right, mut out) = (vec![9.0; n * r], vec![9.0; m * r], vec![9.0; n * m]);
        factors::project(&matrix, &q, r, &mut left);
        factors::back(&matrix, &p, r, &mut right);
        factors::outer(&p, &q, r, &mut out);
        for (i, k) in (0..n).flat_map(|i| (0..r).map(move |k| (i, k))) {
            let plain: f64 = (0..m).map(|j| at(&matrix, i * m + j) * at(&q, k * m + j)).sum();
            assert!(close(left[i * r + k], plain), "{n} {m} {r}");
        }
        for (j, k) in (0..m).flat_map(|j| (0..r).map(move |k| (j, k))) {
            let plain: f64 = (0..n).map(|i| at(&matrix, i * m + j) * at(&p, i * r + k)).sum();
            assert!(close(right[k * m + j], plain), "{n} {m} {r}");
        }
        for (i, j) in (0..n).flat_map(|i| (0..m).map(move |j| (i, j))) {
            let plain: f64 = (0..r).map(|k| at(&p, i * r + k) * at(&q, k * m + j)).sum();
            assert!(close(out[i * m + j], plain), "{n} {m} {r}");
        }
    }
}

#[test]
fn columns_become_orthonormal_or_zero() {
    let n = 50;
    let mut p = normals(4, n * 4);
    for row in p.chunks_exact_mut(4) {
        // The second is nearly the first, the third is a multiple of it.
        row[1] = row[0] * (1.0 + 1e-6 * row[1]);
        row[2] = 2.0 * row[0];
    }
    factors::orthonormalise(&mut p, 4);
    for (a, b) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
        let dot: f64 = p.chunks_exact(4).map(|row| f64::from(row[a]) * f64::from(row[b])).sum();
        let wanted = if a == b && a != 2 { 1.0 } else { 0.0 };
        assert!((dot - wanted).abs() < 1e-6, "columns {a} and {b}: {dot}");
    }
    let mut broken = [f32::INFINITY, 1.0, f32::NAN, 2.0];
    factors::orthonormalise(&mut broken, 2);
    assert!(broken[0] == 0.0 && broken[2] == 0.0 && flat::is_finite(&broken));
}

#[test]
fn a_scale_is_a_power_of_two() {
    for most in [1e-44f32, 1e-30, 0.75, 1.0, 3.0, 1e30, 1e38] {
        let mut column = [most, -0.4 * most];
        assert!(factors::rescale(&mut column));
        assert!(most < 1e-38 || (1.0..2.0).contains(&column[0]), "{most:e} became {}", column[0]);
        assert!(most < 1e-38 || column[1] / column[0] == -0.4 * most / most);
    }
    assert!(!factors::rescale(&mut [0.0, -0.0]) && !factors::rescale(&mut [1.0, f32::NAN]));
}

#[test]
fn the_largest_numbers_are_said_as_numbers() {
    let of = matrix(20, 30);
    let stream = Stream::new(0, Use::Encode, 0, 0);
    let at = Coding { layout: &of, stream: &stream, shared: &stream };
    for given in [vec![f32::MAX; 600], normals(1, 600).iter().map(|v| (v * 1e38).clamp(-3e38, 3e38)).collect()] {
        let (mut powersgd, mut out, mut said) = (PowerSgd::new(3), Writer::new(), vec![0.0; 600]);
        powersgd.encode(&given, &at, &mut out).unwrap();
        powersgd.decode(&mut Reader::new(out.bytes()), &of, &mut said).unwrap();
        assert!(flat::is_finite(&said) && flat::distance(&said, &given) < flat::norm(&given));
    }
}

#[test]
fn a_message_of_its_own_changes_nothing_that_is_kept() {
    let of = matrix(20, 30);
    let given = normals(1, 600);
    let (private, shared) = (Stream::new(0, Use::Encode, 2, 5), Stream::new(0, Use::Shared, 0, 5));
    let at = Coding { layout: &of, stream: &private, shared: &shared };
    let mut powersgd = PowerSgd::new(2);
    let mut short = Vec::new();
    powersgd.project(&given, &at, &mut short);
    powersgd.encode(&given, &at, &mut Writer::new()).unwrap();
    let (mut again, mut state) = (Vec::new(), State::default());
    powersgd.project(&given, &at, &mut again);
    assert_eq!(short, again);
    // The start: entry after entry of Q, row by row, from the shared stream's part for the tensor.
    powersgd.save(&mut state);
    let mut stream = shared.part(0);
    let drawn: Vec<f32> = (0..60).map(|_| stream.normal()).collect();
    let warm = &state.vectors["warm"];
    assert!((0..30).all(|row| (0..2).all(|k| warm[30 * k + row] == drawn[2 * row + k])));
}
