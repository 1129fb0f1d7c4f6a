//! Pipelines that wait for nobody (`dsp`), to the last bit: one thread, queues, and `f32` in the order in which the
//! library's chain of layers adds up.
//!
//! ```text
//! links k → k+1 and k+1 → k hold empty tokens at first, (p, p), or (0, p) where passes are kept
//! iteration t, every worker k:
//!   (i, h) = pop forward link (k = 0: batch t) ;  keep (i, h, W_k) ;  push (i, Block_k(h; W_k)) to k+1
//!   (j, e) = pop backward link (the last: the error of its output, j = i)
//!   h_j, V = the oldest that was kept ;  (g, e_j) = backward of Block_k at h_j and e, with W_k as it is now,
//!            or with V = W_k as it was then (`stash`) ;  push (j, e_j) to k-1 ;  m ← μ m + g ;  W_k ← W_k - η m
//! an empty token goes on as an empty token, and nobody steps
//!
//! a_{l+1} = tanh(W_l a_l), the last without tanh      Σ of a row: f64, 16 lanes, then halves; one rounding
//! e_L = (a_L - target) / rows ;  e = e (1 - a²) before tanh ;  g and the error below: added row after row
//! ```
//!
//! Reference: Xu, Huo and Huang, "On the Acceleration of Deep Learning Model Parallelism with Staleness", arXiv
//! 1909.02625.

use std::collections::VecDeque;
use std::ops::Range;

/// One vector a row of the batch, or one matrix `W_l` row by row: numbers and how many make a line.
pub type Lines = Vec<Vec<f32>>;

/// A batch's number with what belongs to it, or nothing.
type Token = Option<(u64, Lines)>;

/// The row's settings.
pub struct Settings<'a> {
    /// η and μ.
    pub optim: (f32, f32),
    /// Empty tokens on every link forward and on every link back.
    pub waiting: (usize, usize),
    /// Whether a block goes back at the weights of then.
    pub stash: bool,
    /// The layers of every block.
    pub blocks: Vec<Range<usize>>,
    /// Inputs and targets of what goes forward.
    pub batch: &'a dyn Fn(u64) -> (Lines, Lines),
}

/// Σ x y.
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 16];
    for j in 0..x.len() {
        lanes[j % 16] += f64::from(x[j]) * f64::from(y[j]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// What a block's layers are given, one after another, and what the last of them gives. `layers` are all there are.
fn forward(block: &Range<usize>, layers: usize, weights: &[Lines], inputs: &Lines) -> Vec<Lines> {
    let mut a = vec![inputs.clone()];
    for l in block.clone() {
        let one = |w: &Vec<f32>, a: &Vec<f32>| {
            let z = dot(w, a) as f32;
            if l + 1 < layers { libm::tanhf(z) } else { z }
        };
        let next = a[a.len() - 1].iter().map(|a| weights[l].iter().map(|w| one(w, a)).collect()).collect();
        a.push(next);
    }
    a
}

/// The gradients of a block's layers and the error of its inputs.
fn backward(
    block: &Range<usize>,
    layers: usize,
    weights: &[Lines],
    inputs: &Lines,
    error: &Lines,
) -> (Vec<Lines>, Lines) {
    let mut a = forward(block, layers, weights, inputs);
    let (mut gradients, mut error) = (Vec::new(), error.clone());
    for l in block.clone().rev() {
        let (out, into) = (a.pop().unwrap(), &a[a.len() - 1]);
        let (n, m) = (weights[l].len(), into[0].len());
        let (mut gradient, mut below) = (vec![vec![0.0f32; m]; n], vec![vec![0.0f32; m]; into.len()]);
        for r in 0..into.len() {
            for i in 0..n {
                let e = if l + 1 < layers { error[r][i] * (1.0 - out[r][i] * out[r][i]) } else { error[r][i] };
                for j in 0..m {
                    gradient[i][j] += e * into[r][j];
                    below[r][j] += e * weights[l][i][j];
                }
            }
        }
        gradients.insert(0, gradient);
        error = below;
    }
    (gradients, error)
}

/// All weights at the start and after so many iterations of every worker.
pub fn run(settings: &Settings, start: &[Lines], iterations: u64) -> Vec<Vec<Lines>> {
    let Settings { optim: (rate, momentum), blocks, batch, .. } = settings;
    let (layers, last) = (start.len(), blocks.len() - 1);
    let links = |empty: usize| vec![VecDeque::from(vec![Token::None; empty]); last];
    let (mut up, mut down) = (links(settings.waiting.0), links(settings.waiting.1));
    let mut kept = vec![VecDeque::<(u64, Lines, Vec<Lines>)>::new(); blocks.len()];
    let mut weights = start.to_vec();
    let mut moments: Vec<Lines> = start.iter().map(|w| vec![vec![0.0; w[0].len()]; w.len()]).collect();
    let mut out = vec![weights.clone()];
    for t in 0..iterations {
        let mut newest = Token::None;
        for k in 0..=last {
            let token = if k == 0 { Some((t, batch(t).0)) } else { up[k - 1].pop_front().unwrap() };
            newest = token.as_ref().map(|(i, h)| (*i, forward(&blocks[k], layers, &weights, h).pop().unwrap()));
            kept[k].extend(token.map(|(i, h)| (i, h, weights.clone())));
            if k < last {
                up[k].push_back(newest.take());
            }
        }
        for k in (0..=last).rev() {
            let token = if k < last {
                down[k].pop_front().unwrap()
            } else {
                newest.take().map(|(i, a)| (i, end(&a, &batch(i).1)))
            };
            let answer = token.map(|(j, error)| {
                let (i, h, then) = kept[k].pop_front().unwrap();
                assert_eq!(i, j, "worker {k} kept another batch");
                let at = if settings.stash { &then } else { &weights };
                let (gradients, below) = backward(&blocks[k], layers, at, &h, &error);
                for (l, gradient) in blocks[k].clone().zip(gradients) {
                    for (i, g) in gradient.iter().enumerate() {
                        for j in 0..g.len() {
                            moments[l][i][j] = momentum * moments[l][i][j] + g[j];
                            weights[l][i][j] -= rate * moments[l][i][j];
                        }
                    }
                }
                (j, below)
            });
            if k > 0 {
                down[k - 1].push_back(answer);
            }
        }
        out.push(weights.clone());
    }
    out
}

/// The error of the outputs: the gradient of the mean over rows of `½ ‖a - target‖²`.
fn end(outputs: &Lines, targets: &Lines) -> Lines {
    let n = outputs.len() as f32;
    outputs.iter().zip(targets).map(|(a, t)| a.iter().zip(t).map(|(a, t)| (a - t) / n).collect()).collect()
}
