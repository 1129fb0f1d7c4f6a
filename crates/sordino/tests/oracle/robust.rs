//! Rules that bear a minority of liars, and what liars send. Every rule takes the workers' vectors, a row a worker.
//!
//! References: Yin et al., arXiv 1803.01498 (median, trimmed mean); Blanchard et al., "Machine Learning with
//! Adversaries", NeurIPS 2017 (Krum); Pillutla et al., arXiv 1912.13445 (geometric median); Karimireddy, He and Jaggi,
//! arXiv 2012.10333 (centered clipping) and 2006.09365 (bucketing); Baruch et al., arXiv 1902.06156 (ALIE); Xie et al.,
//! arXiv 1903.03936 (inner product).

use super::vectors::{mean, minus, norm};

/// The numbers that the workers have at entry `j`, in increasing order.
fn sorted(rows: &[Vec<f64>], j: usize) -> Vec<f64> {
    let mut column: Vec<f64> = rows.iter().map(|row| row[j]).collect();
    column.sort_by(f64::total_cmp);
    column
}

/// The median of every entry; of an even number of workers the mean of the two in the middle.
pub fn median(rows: &[Vec<f64>]) -> Vec<f64> {
    let middle = |c: Vec<f64>| 0.5 * (c[(c.len() - 1) / 2] + c[c.len() / 2]);
    (0..rows[0].len()).map(|j| middle(sorted(rows, j))).collect()
}

/// The mean of every entry without its `⌊β n⌋` smallest and largest values.
pub fn trimmed_mean(rows: &[Vec<f64>], beta: f64) -> Vec<f64> {
    let cut = (beta * rows.len() as f64).floor() as usize;
    let kept = rows.len() - 2 * cut;
    (0..rows[0].len()).map(|j| sorted(rows, j)[cut..cut + kept].iter().sum::<f64>() / kept as f64).collect()
}

/// Krum's scores: the sum of the squared distances to the `n - f - 2` nearest others. Needs `n >= 2f + 3`.
pub fn scores(rows: &[Vec<f64>], f: usize) -> Vec<f64> {
    let n = rows.len();
    let mut out = Vec::new();
    for i in 0..n {
        let mut squares: Vec<f64> =
            (0..n).filter(|&k| k != i).map(|k| norm(&minus(&rows[i], &rows[k])).powi(2)).collect();
        squares.sort_by(f64::total_cmp);
        out.push(squares[..n - f - 2].iter().sum());
    }
    out
}

/// The vector of least score; among equals the first.
pub fn krum(rows: &[Vec<f64>], f: usize) -> Vec<f64> {
    multi_krum(rows, f, 1)
}

/// The mean of the `m` vectors of least score, scored once; among equals the first ones.
pub fn multi_krum(rows: &[Vec<f64>], f: usize, m: usize) -> Vec<f64> {
    let scores = scores(rows, f);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    order.truncate(m);
    order.sort_unstable();
    mean(&order.iter().map(|&i| rows[i].clone()).collect::<Vec<_>>())
}

/// Weiszfeld's iteration from the mean: `z ← Σ_i w_i x_i / Σ_i w_i` with `w_i = 1/max(ε, ‖x_i - z‖)`.
pub fn geometric_median(rows: &[Vec<f64>], iterations: usize, epsilon: f64) -> Vec<f64> {
    let mut z = mean(rows);
    for _ in 0..iterations {
        let weights: Vec<f64> = rows.iter().map(|row| 1.0 / norm(&minus(row, &z)).max(epsilon)).collect();
        let total: f64 = weights.iter().sum();
        z = (0..z.len()).map(|j| (0..rows.len()).map(|i| weights[i] * rows[i][j]).sum::<f64>() / total).collect();
    }
    z
}

/// `v ← v + (1/n) Σ_i (x_i - v) min(1, τ/‖x_i - v‖)`, so many times from `start`, which is the last answer.
pub fn centered_clip(rows: &[Vec<f64>], start: &[f64], tau: f64, iterations: usize) -> Vec<f64> {
    let mut v = start.to_vec();
    for _ in 0..iterations {
        let moves: Vec<Vec<f64>> = rows.iter().map(|row| super::compress::clip(&minus(row, &v), tau)).collect();
        let step = mean(&moves);
        v = (0..v.len()).map(|j| v[j] + step[j]).collect();
    }
    v
}

/// The rule on the means of the buckets: `s` vectors each in the order of the permutation, fewer in the last.
pub fn bucketed(
    rows: &[Vec<f64>],
    permutation: &[usize],
    s: usize,
    rule: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let mut buckets = Vec::new();
    for bucket in permutation.chunks(s) {
        buckets.push(mean(&bucket.iter().map(|&i| rows[i].clone()).collect::<Vec<_>>()));
    }
    rule(&buckets)
}

/// A liar who sends the opposite of what it has.
pub fn sign_flip(own: &[f64]) -> Vec<f64> {
    own.iter().map(|a| -a).collect()
}

/// "A little is enough": the honest mean less `z` honest standard deviations, entry by entry (the variance is divided
/// by the number of the honest).
pub fn alie(honest: &[Vec<f64>], z: f64) -> Vec<f64> {
    let centre = mean(honest);
    let variance = |j: usize| honest.iter().map(|row| (row[j] - centre[j]).powi(2)).sum::<f64>() / honest.len() as f64;
    (0..centre.len()).map(|j| centre[j] - z * variance(j).sqrt()).collect()
}

/// The inner-product attack: `-ε` times the honest mean.
pub fn inner_product(honest: &[Vec<f64>], epsilon: f64) -> Vec<f64> {
    mean(honest).iter().map(|a| -epsilon * a).collect()
}
