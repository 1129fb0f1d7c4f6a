//! Error feedback (`ef-sgd`): what compression dropped is added to the next message.
//!
//! ```text
//! worker k:  m_k ← μ m_k + (g_k(x) + wd x) ;  D = e_k + η m_k ;  send z_k = C(D) ;  e_k ← D - z_k
//! server:    z̄ = (1/N) Σ_k z_k ;  q = z̄, or C(z̄), or C(E + z̄) with E ← E + z̄ - q
//! all:       x ← x - q
//! ```
//!
//! Momentum is local and uncompressed; residuals are in units of parameters.
//!
//! References: Karimireddy et al., "Error Feedback Fixes `SignSGD`", arXiv 1901.09847; the EF baseline of arXiv
//! 2008.05823.

use super::{
    problem::{Compressor, Problem, Rate},
    vectors::{mean, minus},
};

/// What the server sends back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Down {
    /// The mean as it is.
    Dense,
    /// The mean compressed.
    Compressed,
    /// The mean compressed with error feedback of its own.
    Feedback,
}

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// C, both ways.
    pub compress: Compressor<'a>,
    /// The way back.
    pub down: Down,
}

/// Everything that is remembered between rounds, momentum aside.
#[derive(Clone, Debug)]
pub struct Held {
    /// The model.
    pub x: Vec<f64>,
    /// `e_k`, a row a worker.
    pub errors: Vec<Vec<f64>>,
    /// E, the server's.
    pub server_error: Vec<f64>,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut x = problem.start();
    let (mut m, mut e) = (vec![vec![0.0; d]; n], vec![vec![0.0; d]; n]);
    let mut big_e = vec![0.0; d];
    let mut out = vec![Held { x: x.clone(), errors: e.clone(), server_error: big_e.clone() }];
    for t in 0..rounds as u64 {
        let eta = (settings.rate)(t);
        let mut sent = Vec::new();
        for k in 0..n {
            let g = problem.gradient(k, t, &x);
            let mut offer = vec![0.0; d];
            for j in 0..d {
                m[k][j] = settings.momentum * m[k][j] + (g[j] + settings.decay * x[j]);
                offer[j] = e[k][j] + eta * m[k][j];
            }
            let z = (settings.compress)(&offer);
            e[k] = minus(&offer, &z);
            sent.push(z);
        }
        let q = answer(&mean(&sent), &mut big_e, settings.down, settings.compress);
        x = minus(&x, &q);
        out.push(Held { x: x.clone(), errors: e.clone(), server_error: big_e.clone() });
    }
    out
}

/// The server's answer to the mean of the messages.
pub fn answer(z: &[f64], error: &mut Vec<f64>, down: Down, compress: Compressor) -> Vec<f64> {
    match down {
        Down::Dense => z.to_vec(),
        Down::Compressed => compress(z),
        Down::Feedback => {
            let u: Vec<f64> = (0..z.len()).map(|j| error[j] + z[j]).collect();
            let q = compress(&u);
            *error = minus(&u, &q);
            q
        }
    }
}

/// The model x at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
