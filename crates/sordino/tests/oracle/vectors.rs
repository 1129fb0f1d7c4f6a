//! Three sums that every row needs.

/// `‖v‖₂`.
pub fn norm(v: &[f64]) -> f64 {
    v.iter().map(|a| a * a).sum::<f64>().sqrt()
}

/// `u - v`.
pub fn minus(u: &[f64], v: &[f64]) -> Vec<f64> {
    (0..u.len()).map(|j| u[j] - v[j]).collect()
}

/// The mean of the rows: summed in order, divided once.
pub fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; rows[0].len()];
    for row in rows {
        for j in 0..row.len() {
            sum[j] += row[j];
        }
    }
    sum.iter().map(|a| a / rows.len() as f64).collect()
}
