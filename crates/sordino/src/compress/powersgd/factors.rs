//! Products of a large matrix with thin ones, each in one pass over the large one, in a fixed order of addition.
//!
//! M is n × m and P is n × r, row by row; Q is m × r, column by column. Four rows of M are taken together in tiles that
//! stay in the first cache while the r columns pass over them.

use std::array::from_fn;
use std::ops::Range;

use crate::base::flat;

const ROWS: usize = 4;
const TILE: usize = 1024;
const LANES: usize = 8;

/// Of a column, what the others leave if it lies among them, up to rounding in f64.
const NOTHING: f64 = 1e-10;

/// P ← M·Q.
pub fn project(matrix: &[f32], q: &[f32], rank: usize, p: &mut [f32]) {
    let columns = q.len() / rank;
    p.fill(0.0);
    for (rows, sums) in matrix.chunks(ROWS * columns).zip(p.chunks_mut(ROWS * rank)) {
        for tile in tiles(columns) {
            let four = four(rows, columns, &tile);
            for (k, column) in q.chunks_exact(columns).enumerate() {
                let products = products(four, &column[tile.clone()]);
                sums.iter_mut().skip(k).step_by(rank).zip(products).for_each(|(sum, product)| *sum += product);
            }
        }
    }
}

/// Q ← Mᵀ·P.
pub fn back(matrix: &[f32], p: &[f32], rank: usize, q: &mut [f32]) {
    let columns = q.len() / rank;
    q.fill(0.0);
    for (rows, factors) in matrix.chunks(ROWS * columns).zip(p.chunks(ROWS * rank)) {
        for tile in tiles(columns) {
            let [a, b, c, d] = four(rows, columns, &tile);
            for (k, column) in q.chunks_exact_mut(columns).enumerate() {
                let [f, g, h, i] = from_fn(|row| factors.get(row * rank + k).copied().unwrap_or(0.0));
                for ((((sum, a), b), c), d) in column[tile.clone()].iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *sum += (f * a + g * b) + (h * c + i * d);
                }
            }
        }
    }
}

/// M ← P·Qᵀ, within the range of f32.
pub fn outer(p: &[f32], q: &[f32], rank: usize, matrix: &mut [f32]) {
    let columns = q.len() / rank;
    for (row, factors) in matrix.chunks_exact_mut(columns).zip(p.chunks_exact(rank)) {
        for tile in tiles(columns) {
            let out = &mut row[tile.clone()];
            out.fill(0.0);
            for (factors, some) in factors.chunks(4).zip(q.chunks(4 * columns)) {
                let part = |k: usize| &some[k * columns..][tile.clone()];
                if let [f, g, h, i] = *factors {
                    let four = part(0).iter().zip(part(1)).zip(part(2)).zip(part(3));
                    for (x, (((a, b), c), d)) in out.iter_mut().zip(four) {
                        *x = (((*x + f * a) + g * b) + h * c) + i * d;
                    }
                } else {
                    for (k, f) in factors.iter().enumerate() {
                        out.iter_mut().zip(part(k)).for_each(|(x, a)| *x += f * a);
                    }
                }
            }
        }
    }
    let most = flat::max_abs(q);
    if most > f32::MAX / (2.0 * rank as f32) {
        for x in matrix {
            *x = x.clamp(f32::MIN, f32::MAX);
        }
    }
}

/// Makes the columns of P orthonormal, from the first to the last; those that lie among earlier ones become zero, and
/// those that are not finite.
pub fn orthonormalise(p: &mut [f32], rank: usize) {
    let column = |k: usize| -> Vec<f64> { p.iter().skip(k).step_by(rank).map(|v| f64::from(*v)).collect() };
    let mut columns: Vec<Vec<f64>> = Vec::with_capacity(rank);
    for k in 0..rank {
        let mut column = column(k);
        let before = libm::sqrt(dot(&column, &column));
        // Once leaves what rounding leaves, twice is enough.
        for other in columns.iter().chain(&columns) {
            let along = dot(&column, other);
            column.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let after = libm::sqrt(dot(&column, &column));
        if after > NOTHING * before {
            for x in &mut column {
                *x /= after;
            }
        } else {
            column.fill(0.0);
        }
        columns.push(column);
    }
    for (k, column) in columns.iter().enumerate() {
        p.iter_mut().skip(k).step_by(rank).zip(column).for_each(|(x, y)| *x = *y as f32);
    }
}

/// Scales by the power of two that brings the largest entry between 1 and 2 (4 at the end of the range); false for zero
/// and what is not finite.
pub fn rescale(column: &mut [f32]) -> bool {
    let most = flat::max_abs(column);
    if most == 0.0 || !most.is_finite() {
        return false;
    }
    // The exponent e of 2ᵉ ≤ most is kept as e + 127; that of 2⁻ᵉ is 127 − e.
    let factor = f32::from_bits((254 - (most.to_bits() >> 23)).max(1) << 23);
    flat::scale(column, factor);
    true
}

fn tiles(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(TILE).map(move |from| from..(from + TILE).min(columns))
}

/// A tile of four rows; the first again for those that are not there.
fn four<'a>(rows: &'a [f32], columns: usize, tile: &Range<usize>) -> [&'a [f32]; ROWS] {
    let first = &rows[tile.clone()];
    from_fn(|row| rows.get(row * columns + tile.start..row * columns + tile.end).unwrap_or(first))
}

/// The products of four rows with a column, each in eight lanes and a fixed tree.
fn products(rows: [&[f32]; ROWS], column: &[f32]) -> [f32; ROWS] {
    let mut lanes = [[0.0f32; LANES]; ROWS];
    let [(a, _), (b, _), (c, _), (d, _)] = rows.map(|row| row.as_chunks::<LANES>());
    let (whole, tail) = column.as_chunks::<LANES>();
    for ((((q, a), b), c), d) in whole.iter().zip(a).zip(b).zip(c).zip(d) {
        for l in 0..LANES {
            lanes[0][l] += a[l] * q[l];
            lanes[1][l] += b[l] * q[l];
            lanes[2][l] += c[l] * q[l];
            lanes[3][l] += d[l] * q[l];
        }
    }
    for (lanes, row) in lanes.iter_mut().zip(rows) {
        let ends = row[column.len() - tail.len()..].iter().zip(tail);
        lanes.iter_mut().zip(ends).for_each(|(lane, (x, q))| *lane += x * q);
    }
    lanes.map(|l| ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    lanes.iter().sum()
}
