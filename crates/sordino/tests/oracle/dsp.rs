//! DSP, diversely stale parameters (`dsp`): blocks that never wait for one another longer than their links are short,
//! and that go back through their newest weights.
//!
//! ```text
//! links k → k+1 and k+1 → k hold p_k tokens, at first empty ones
//! worker k, each iteration:
//!   (i, h) = pop forward link (k = 0: the next batch) ;  keep (i, h) ;  push (i, Block_k(h; W_k)) to k+1
//!   (j, e) = pop backward link (the last: the error of its newest output, j = i)
//!   h_j = the oldest kept input ;  (g, e_j) = backward of Block_k at (h_j, e) with W_k as it is now
//!   push (j, e_j) to k-1 ;  W_k ← W_k - η g                           (or the optimizer's step)
//! an empty token goes on as an empty token, and nobody steps
//! ```
//!
//! Block k goes back through the batch that it sent forward `2 Σ_{j ≥ k} p_j` iterations ago. A link of capacity 0
//! hands over: it takes one token that is waited for. Whose turn it is changes nothing but the order of the work.
//!
//! Reference: Xu, Huo and Huang, "On the Acceleration of Deep Learning Model Parallelism with Staleness", arXiv
//! 1909.02625.

use super::{
    chain::{Batch, Chain, Rows, Weights, error, states, step},
    inner::{Inner, State},
    problem::Rate,
};
use std::collections::VecDeque;

/// A batch's number with what belongs to it, or nothing.
type Token = Option<(u64, Rows)>;

/// The row's settings.
pub struct Settings<'a> {
    /// η of an iteration of a worker.
    pub rate: Rate<'a>,
    /// What takes the steps; only real gradients count.
    pub inner: Inner,
    /// `p_k` of the links between blocks k and k+1, both ways.
    pub capacity: Vec<usize>,
    /// What goes forward.
    pub batch: &'a dyn Fn(u64) -> Batch,
    /// Whose turn it is; who cannot go on passes.
    pub turn: &'a dyn Fn(u64) -> usize,
}

/// One iteration of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    /// The batch that went forward.
    pub forward: Option<u64>,
    /// The batch that came back, and its gradients.
    pub backward: Option<(u64, Weights)>,
}

/// What happened.
pub struct Run {
    /// At the start, and with every worker's weights after its iteration of that number.
    pub models: Vec<Weights>,
    /// Every worker's iterations.
    pub log: Vec<Vec<Iteration>>,
    /// The most inputs a worker kept.
    pub kept: Vec<usize>,
}

/// Where a worker is in its iteration.
#[derive(Default)]
struct Worker {
    phase: u8,
    kept: VecDeque<(u64, Rows)>,
    forward: Option<u64>,
    output: Token,
    returned: Token,
}

struct Machine<'a> {
    chain: &'a Chain,
    settings: &'a Settings<'a>,
    weights: Weights,
    states: Vec<State>,
    workers: Vec<Worker>,
    up: Vec<VecDeque<Token>>,
    down: Vec<VecDeque<Token>>,
    run: Run,
}

impl Machine<'_> {
    fn room(&self, link: &VecDeque<Token>, k: usize) -> bool {
        link.len() < self.settings.capacity[k].max(1)
    }

    /// Worker k does what is next, if it can.
    fn act(&mut self, k: usize) {
        let last = k + 1 == self.workers.len();
        let done = match self.workers[k].phase {
            0 => self.pop_forward(k),
            1 if last => true,
            1 => {
                self.room(&self.up[k], k) && {
                    let output = self.workers[k].output.take();
                    self.up[k].push_back(output);
                    true
                }
            }
            2 if last => {
                let targets = |i: u64| (self.settings.batch)(i).targets;
                self.workers[k].returned = self.workers[k].output.take().map(|(i, a)| (i, error(&a, &targets(i))));
                true
            }
            2 => match self.down[k].pop_front() {
                Some(token) => {
                    self.workers[k].returned = token;
                    true
                }
                None => false,
            },
            _ => {
                (k == 0 || self.room(&self.down[k - 1], k - 1)) && {
                    self.go_back(k);
                    true
                }
            }
        };
        if done {
            self.workers[k].phase = (self.workers[k].phase + 1) % 4;
        }
    }

    fn pop_forward(&mut self, k: usize) -> bool {
        let number = self.run.log[k].len() as u64;
        let token = if k == 0 {
            Some(Some((number, (self.settings.batch)(number).inputs)))
        } else {
            self.up[k - 1].pop_front()
        };
        let Some(token) = token else { return false };
        let worker = &mut self.workers[k];
        worker.forward = token.as_ref().map(|(i, _)| *i);
        worker.output = None;
        if let Some((i, h)) = token {
            worker.output = Some((i, self.chain.forward(k, &self.weights, &h)));
            worker.kept.push_back((i, h));
            self.run.kept[k] = self.run.kept[k].max(worker.kept.len());
        }
        true
    }

    fn go_back(&mut self, k: usize) {
        let (mut backward, mut answer) = (None, None);
        if let Some((j, e)) = self.workers[k].returned.take() {
            let (i, h) = self.workers[k].kept.pop_front().unwrap();
            assert_eq!(i, j, "worker {k} kept another batch");
            let (gradients, before) = self.chain.backward(k, &self.weights, &h, &e);
            let rate = (self.settings.rate)(self.run.log[k].len() as u64);
            let own = self.chain.blocks[k].clone();
            step((&mut self.states, self.settings.inner, rate), &mut self.weights, own, &gradients);
            backward = Some((j, gradients));
            answer = Some((j, before));
        }
        if k > 0 {
            self.down[k - 1].push_back(answer);
        }
        let forward = self.workers[k].forward;
        self.run.log[k].push(Iteration { forward, backward });
        let number = self.run.log[k].len();
        for l in self.chain.blocks[k].clone() {
            self.run.models[number][l].clone_from(&self.weights[l]);
        }
    }
}

/// So many iterations of every worker.
pub fn run(chain: &Chain, settings: &Settings, start: &Weights, iterations: usize) -> Run {
    let blocks = chain.blocks.len();
    let links: Vec<VecDeque<Token>> = settings.capacity.iter().map(|&p| vec![None; p].into()).collect();
    let mut machine = Machine {
        chain,
        settings,
        weights: start.clone(),
        states: states(start),
        workers: (0..blocks).map(|_| Worker::default()).collect(),
        up: links.clone(),
        down: links,
        run: Run { models: vec![start.clone(); iterations + 1], log: vec![Vec::new(); blocks], kept: vec![0; blocks] },
    };
    let mut turn = 0;
    while machine.run.log.iter().any(|own| own.len() < iterations) {
        let k = (settings.turn)(turn);
        if machine.run.log[k].len() < iterations {
            machine.act(k);
        }
        turn += 1;
        assert!(turn < 1000 * (blocks * iterations) as u64 + 1000, "the workers wait for one another");
    }
    machine.run
}
