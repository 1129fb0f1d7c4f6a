//! PowerSGD (`powersgd`): one step of subspace iteration a round approximates the mean gradient of every matrix by a
//! low rank.
//!
//! ```text
//! matrix, n × m, rank r = min(n, m, R), Q m × r shared and kept from round to round:
//!   worker k:  M_k = g_k + e_k ;  P_k = M_k Q
//!   all:       P = orthonormalised Σ_k P_k                               (Gram-Schmidt, each column over its norm + ε)
//!   worker k:  Q_k = M_kᵀ P
//!   all:       Q = (1/N) Σ_k Q_k ;  Δ = P Qᵀ
//!   worker k:  e_k = M_k - Δ                                             (the global reconstruction)
//! vector:      Δ = (1/N) Σ_k g_k
//! all:         m ← μ m + (Δ + wd x) ;  x ← x - η m , or with Nesterov's step x ← x - η (Δ + wd x + m)
//! ```
//!
//! Residuals are in units of gradients: the rate is outside of them. The paper's runs use Nesterov's step as it stands
//! in the code, which does not multiply the `m` it adds by μ.
//!
//! Reference: Vogels, Karimireddy and Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
//! Optimization", arXiv 1905.13727, and the authors' code.

use super::problem::{Problem, Rate};

/// One tensor, in the order of the vector.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `rows × columns`, row by row: a tensor `[out, rest]`.
    Matrix(usize, usize),
    /// So many entries, sent as they are.
    Vector(usize),
}

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// Adds the gradient to the momentum once more.
    pub nesterov: bool,
    /// wd, joins after decompression.
    pub decay: f64,
    /// R.
    pub rank: usize,
    /// ε, 1e-8 in the code.
    pub epsilon: f64,
    /// The tensors.
    pub shapes: Vec<Shape>,
    /// The first Q of a tensor, `m × r` row by row: `(tensor, entry)`.
    pub start: &'a dyn Fn(usize, usize) -> f64,
}

/// `A B` of an `n × m` and an `m × r` matrix, all row by row.
pub fn product(a: &[f64], b: &[f64], (n, m, r): (usize, usize, usize)) -> Vec<f64> {
    let mut out = vec![0.0; n * r];
    for i in 0..n {
        for l in 0..m {
            for c in 0..r {
                out[i * r + c] += a[i * m + l] * b[l * r + c];
            }
        }
    }
    out
}

/// The transpose of an `n × m` matrix.
pub fn transposed(a: &[f64], n: usize, m: usize) -> Vec<f64> {
    (0..n * m).map(|e| a[(e % n) * m + e / n]).collect()
}

/// Gram-Schmidt on the columns of an `n × r` matrix, the norms enlarged by ε.
pub fn orthonormalise(p: &mut [f64], n: usize, r: usize, epsilon: f64) {
    for c in 0..r {
        let length = (0..n).map(|i| p[i * r + c] * p[i * r + c]).sum::<f64>().sqrt() + epsilon;
        for i in 0..n {
            p[i * r + c] /= length;
        }
        for other in c + 1..r {
            let along: f64 = (0..n).map(|i| p[i * r + c] * p[i * r + other]).sum();
            for i in 0..n {
                p[i * r + other] -= along * p[i * r + c];
            }
        }
    }
}

/// `Δ` of the workers' matrices `M_k`; Q is replaced.
pub fn reconstruct(offers: &[&[f64]], q: &mut Vec<f64>, (n, m, r): (usize, usize, usize), epsilon: f64) -> Vec<f64> {
    let mut p = vec![0.0; n * r];
    for offer in offers {
        let own = product(offer, q, (n, m, r));
        for e in 0..n * r {
            p[e] += own[e];
        }
    }
    orthonormalise(&mut p, n, r, epsilon);
    *q = vec![0.0; m * r];
    for offer in offers {
        let own = product(&transposed(offer, n, m), &p, (m, n, r));
        for e in 0..m * r {
            q[e] += own[e] / offers.len() as f64;
        }
    }
    product(&p, &transposed(q, m, r), (n, r, m))
}

/// What is remembered between rounds, momentum and Q aside.
#[derive(Clone, Debug)]
pub struct Held {
    /// The model.
    pub x: Vec<f64>,
    /// `e_k`, a row a worker.
    pub errors: Vec<Vec<f64>>,
    /// The Δ of the round that led here.
    pub delta: Vec<f64>,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (workers, d) = (problem.workers(), problem.dim());
    let (mut x, mut momentum) = (problem.start(), vec![0.0; d]);
    let mut errors = vec![vec![0.0; d]; workers];
    let rank = |n: usize, m: usize| n.min(m).min(settings.rank);
    let mut queries: Vec<Vec<f64>> = Vec::new();
    for (l, shape) in settings.shapes.iter().enumerate() {
        let entries = if let Shape::Matrix(n, m) = *shape { m * rank(n, m) } else { 0 };
        queries.push((0..entries).map(|e| (settings.start)(l, e)).collect());
    }
    let mut out = vec![Held { x: x.clone(), errors: errors.clone(), delta: vec![0.0; d] }];
    for t in 0..rounds as u64 {
        let mut offers = Vec::new();
        for k in 0..workers {
            let g = problem.gradient(k, t, &x);
            offers.push((0..d).map(|j| g[j] + errors[k][j]).collect::<Vec<f64>>());
        }
        let mut delta = Vec::new();
        for (l, shape) in settings.shapes.iter().enumerate() {
            let first = delta.len();
            match *shape {
                Shape::Matrix(n, m) => {
                    let own: Vec<&[f64]> = offers.iter().map(|offer| &offer[first..first + n * m]).collect();
                    delta.extend(reconstruct(&own, &mut queries[l], (n, m, rank(n, m)), settings.epsilon));
                    for k in 0..workers {
                        for j in first..first + n * m {
                            errors[k][j] = offers[k][j] - delta[j];
                        }
                    }
                }
                Shape::Vector(n) => {
                    for j in first..first + n {
                        delta.push(offers.iter().map(|offer| offer[j]).sum::<f64>() / workers as f64);
                    }
                }
            }
        }
        for j in 0..d {
            let g = delta[j] + settings.decay * x[j];
            momentum[j] = settings.momentum * momentum[j] + g;
            let step = if settings.nesterov { g + momentum[j] } else { momentum[j] };
            x[j] -= (settings.rate)(t) * step;
        }
        out.push(Held { x: x.clone(), errors: errors.clone(), delta });
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
