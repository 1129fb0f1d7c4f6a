//! Pipelines: synchronous, in micro-batches, with gradients of old points (Ouroboros) and of no point (DSP).

use super::assert_same;
use crate::oracle::{
    chain::{Batch, Chain, Weights},
    dsp, gpipe,
    inner::Inner,
    ouroboros, pipeline_sync,
    problem::uniform,
    vectors::{minus, norm},
};

const MOMENTUM: Inner = Inner::Sgd { momentum: 0.9, decay: 5e-4 };

/// Five bent layers in three blocks.
fn net() -> Chain {
    Chain { sizes: vec![4, 5, 3, 5, 4, 2], tanh: true, blocks: vec![0..2, 2..3, 3..5] }
}

fn spread(seed: u64, step: u64, row: usize, length: usize) -> Vec<f64> {
    (0..length).map(|j| 2.0 * uniform(seed, row, step, j) - 1.0).collect()
}

fn start(chain: &Chain, seed: u64) -> Weights {
    (0..chain.sizes.len() - 1).map(|l| spread(seed, l as u64, 0, chain.sizes[l] * chain.sizes[l + 1])).collect()
}

/// Six rows, others in every step.
fn batch(t: u64) -> Batch {
    Batch {
        inputs: (0..6).map(|r| spread(1, t, r, 4)).collect(),
        targets: (0..6).map(|r| spread(2, t, r, 2)).collect(),
    }
}

/// The notes' toy: input 1, target 2.
fn two(_: u64) -> Batch {
    Batch { inputs: vec![vec![1.0]], targets: vec![vec![2.0]] }
}

fn flat(models: &[Weights]) -> Vec<Vec<f64>> {
    models.iter().map(|w| w.concat()).collect()
}

fn plain(chain: &Chain, inner: Inner, rate: f64, steps: u64) -> Vec<Weights> {
    let settings = pipeline_sync::Settings { rate: &|_| rate, inner, batch: &batch };
    pipeline_sync::trajectory(chain, &settings, &start(chain, 5), steps)
}

fn delayed(chain: &Chain, inner: Inner, rate: f64, steps: usize) -> Vec<Weights> {
    let settings = ouroboros::Settings { rate: &|_| rate, inner, tied: vec![], batch: &batch };
    ouroboros::trajectory(chain, &settings, &start(chain, 5), steps)
}

fn stale(chain: &Chain, inner: Inner, rate: f64, capacity: &[usize], iterations: usize) -> dsp::Run {
    let blocks = chain.blocks.len() as u64;
    let settings = dsp::Settings {
        rate: &|_| rate,
        inner,
        capacity: capacity.to_vec(),
        batch: &batch,
        turn: &|t| (t % blocks) as usize,
    };
    dsp::run(chain, &settings, &start(chain, 5), iterations)
}

#[test]
fn the_chains_gradient_is_the_slope_of_its_loss_however_it_is_cut() {
    for tanh in [true, false] {
        let mut chain = net();
        chain.tanh = tanh;
        let w = start(&chain, 3);
        let gradient = chain.gradient(&w, &batch(0));
        for l in 0..5 {
            for j in 0..w[l].len() {
                let at = |h: f64| {
                    let mut moved = w.clone();
                    moved[l][j] += h;
                    chain.loss(&moved, &batch(0))
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient[l][j] - slope).abs() < 1e-9, "{l} {j}: {} {slope}", gradient[l][j]);
            }
        }
        for ends in [vec![5], vec![1, 2, 3, 4, 5], vec![4, 5]] {
            assert_eq!(chain.cut(&ends).gradient(&w, &batch(0)), gradient);
        }
    }
    // By hand: ½ (3·2·1 - 2)², slopes 4·2 and 4·3.
    let w = vec![vec![3.0], vec![2.0]];
    assert_eq!(Chain::scalar(2).gradient(&w, &two(0)), [[8.0], [12.0]]);
    assert_eq!(Chain::scalar(2).loss(&w, &two(0)), 8.0);
}

#[test]
fn micro_batches_make_the_step_of_the_whole_batch() {
    let chain = net();
    for inner in [Inner::PLAIN, MOMENTUM, Inner::ADAMW] {
        let whole = plain(&chain, inner, 0.05, 40);
        let run = |micro, batch: &dyn Fn(u64) -> Batch| {
            let settings = gpipe::Settings { rate: &|_| 0.05, inner, micro, batch };
            gpipe::trajectory(&chain, &settings, &start(&chain, 5), 40)
        };
        assert_eq!(run(1, &batch), whole);
        for micro in [2, 3, 6, 4, 5, 8] {
            assert_same(&flat(&run(micro, &batch)), &flat(&whole), 1e-9);
        }
        // The control: five of the rows are another batch.
        let short = |t| {
            let Batch { inputs, targets } = batch(t);
            Batch { inputs: inputs[..5].to_vec(), targets: targets[..5].to_vec() }
        };
        assert!(norm(&minus(&flat(&run(5, &short))[40], &flat(&whole)[40])) > 1e-3);
    }
}

#[test]
fn one_block_is_never_stale() {
    let chain = net().cut(&[5]);
    for inner in [Inner::PLAIN, MOMENTUM, Inner::ADAMW] {
        let whole = plain(&chain, inner, 0.05, 30);
        assert_eq!(delayed(&chain, inner, 0.05, 30), whole);
        assert_eq!(stale(&chain, inner, 0.05, &[], 30).models, whole);
    }
}

#[test]
fn a_block_of_ouroboros_waits_until_its_first_gradient_and_then_takes_one_of_its_age() {
    let chain = net();
    for inner in [Inner::PLAIN, MOMENTUM] {
        let settings = ouroboros::Settings { rate: &|_| 0.1, inner, tied: vec![], batch: &batch };
        let models = ouroboros::trajectory(&chain, &settings, &start(&chain, 5), 12);
        for (k, block) in chain.blocks.iter().enumerate() {
            let age = 2 - k;
            for l in block.clone() {
                for t in 0..12 {
                    assert_eq!(models[t][l] == models[t + 1][l], t < age, "block {k}, iteration {t}");
                }
            }
        }
    }
    // Plain steps, written out.
    let models = delayed(&chain, Inner::PLAIN, 0.1, 12);
    for t in 2..12 {
        let old: Vec<Weights> = (0..3).map(|age| chain.gradient(&models[t - age], &batch((t - age) as u64))).collect();
        let expected: Vec<Vec<f64>> = [2, 2, 1, 0, 0]
            .iter()
            .enumerate()
            .map(|(l, &age)| (0..models[t][l].len()).map(|j| models[t][l][j] - 0.1 * old[age][l][j]).collect())
            .collect();
        assert_same(&models[t + 1], &expected, 1e-14);
        // The control: of age 1 everywhere.
        assert!((0..4).any(|j| (models[t + 1][0][j] - models[t][0][j] + 0.1 * old[1][0][j]).abs() > 1e-6));
    }
}

#[test]
fn a_shared_tensor_takes_one_step_with_gradients_of_two_ages() {
    // ½ (v u v - 2)²: v is the first and the last of three blocks.
    let chain = Chain::scalar(3);
    let first = vec![vec![0.9], vec![1.1], vec![0.9]];
    for (momentum, first_rate) in [(0.0, 0.05), (0.9, 0.005)] {
        let rate = |t: u64| first_rate / (1.0 + t as f64 / 200.0);
        let inner = Inner::Sgd { momentum, decay: 0.0 };
        let settings = ouroboros::Settings { rate: &rate, inner, tied: vec![(0, 2)], batch: &two };
        let models = ouroboros::trajectory(&chain, &settings, &first, 60);
        let (mut v, mut u) = (vec![0.9], vec![1.1]);
        let (mut m, mut n) = (0.0, 0.0);
        for t in 0..60usize {
            let miss = |s: usize| v[s] * u[s] * v[s] - 2.0;
            let mut g = miss(t) * u[t] * v[t];
            if t >= 2 {
                g += miss(t - 2) * u[t - 2] * v[t - 2];
            }
            m = momentum * m + g;
            n = momentum * n + if t >= 1 { miss(t - 1) * v[t - 1] * v[t - 1] } else { 0.0 };
            v.push(v[t] - rate(t as u64) * m);
            u.push(u[t] - rate(t as u64) * n);
        }
        for t in 0..=60 {
            assert_same(&models[t], &[vec![v[t]], vec![u[t]], vec![v[t]]], 1e-12);
        }
        if momentum == 0.0 {
            assert!(chain.loss(&models[60], &two(0)) < 1e-6);
        }
    }
}

#[test]
fn staleness_shrinks_the_rate_at_which_ouroboros_is_stable() {
    let run = |blocks: usize, rate: f64| {
        let settings = ouroboros::Settings { rate: &|_| rate, inner: Inner::PLAIN, tied: vec![], batch: &two };
        let chain = Chain::scalar(blocks);
        let models = ouroboros::trajectory(&chain, &settings, &vec![vec![0.9]; blocks], 400);
        chain.loss(&models[400], &two(0))
    };
    for blocks in 1..=4 {
        assert!(run(blocks, 0.1) < 1e-9, "{blocks}: {}", run(blocks, 0.1));
    }
    for blocks in 1..=3 {
        assert!(run(blocks, 0.2) < 3e-9, "{blocks}: {}", run(blocks, 0.2));
    }
    // Loss 1.5 in the notes; it wanders about before it overflows.
    let away = run(4, 0.2);
    assert!(!away.is_finite() || away > 0.1, "{away}");
}

#[test]
fn links_of_dsp_are_as_stale_as_the_papers_caption_says() {
    for (capacity, staleness) in [
        (vec![1, 1], vec![4, 2, 0]),
        (vec![2, 2], vec![8, 4, 0]),
        (vec![1, 1, 1], vec![6, 4, 2, 0]),
        (vec![3, 1], vec![8, 2, 0]),
        (vec![0, 2], vec![4, 4, 0]),
        (vec![0, 0], vec![0, 0, 0]),
    ] {
        let blocks = capacity.len() + 1;
        let chain = Chain::scalar(blocks);
        let settings = dsp::Settings {
            rate: &|_| 0.05,
            inner: Inner::PLAIN,
            capacity: capacity.clone(),
            batch: &two,
            turn: &|t| (t % blocks as u64) as usize,
        };
        let run = dsp::run(&chain, &settings, &vec![vec![0.9]; blocks], 40);
        for k in 0..blocks {
            let later: u64 = 2 * capacity[k..].iter().sum::<usize>() as u64;
            let behind: u64 = capacity[..k].iter().sum::<usize>() as u64;
            assert_eq!(later, staleness[k]);
            assert_eq!(run.kept[k] as u64, later + 1);
            for (i, own) in run.log[k].iter().enumerate() {
                let i = i as u64;
                assert_eq!(own.forward, i.checked_sub(behind));
                let back = own.backward.as_ref().map(|(j, _)| *j);
                assert_eq!(back, i.checked_sub(behind + later));
                // No step before the first real token.
                assert_eq!(run.models[i as usize][k] == run.models[i as usize + 1][k], back.is_none());
            }
        }
    }
}

#[test]
fn without_capacity_dsp_is_back_propagation_and_with_it_something_else() {
    let chain = net();
    for inner in [Inner::PLAIN, MOMENTUM, Inner::ADAMW] {
        let whole = plain(&chain, inner, 0.05, 40);
        assert_eq!(stale(&chain, inner, 0.05, &[0, 0], 40).models, whole);
        let other = stale(&chain, inner, 0.05, &[1, 1], 40);
        assert!(norm(&minus(&flat(&other.models)[40], &flat(&whole)[40])) > 1e-2);
    }
}

#[test]
fn at_rate_zero_all_gradients_are_those_of_back_propagation() {
    let chain = net();
    let first = start(&chain, 5);
    for capacity in [[1, 1], [2, 2], [3, 0], [0, 4]] {
        let check = |rate: f64| {
            let mut worst = 0.0f64;
            for (k, own) in stale(&chain, MOMENTUM, rate, &capacity, 30).log.iter().enumerate() {
                for (j, gradients) in own.iter().filter_map(|iteration| iteration.backward.as_ref()) {
                    let exact = chain.gradient(&first, &batch(*j));
                    for (l, g) in chain.blocks[k].clone().zip(gradients) {
                        worst = worst.max(norm(&minus(g, &exact[l])));
                    }
                }
            }
            worst
        };
        assert_eq!(check(0.0), 0.0);
        assert!(check(0.05) > 0.1);
    }
    let settings = ouroboros::Settings { rate: &|_| 0.0, inner: MOMENTUM, tied: vec![], batch: &batch };
    let models = ouroboros::trajectory(&chain, &settings, &first, 10);
    for t in 2..10 {
        for (l, g) in ouroboros::arrived(&chain, &settings, &models, t).into_iter().enumerate() {
            let age = [2, 2, 1, 0, 0][l];
            assert_eq!(g.unwrap(), chain.gradient(&first, &batch((t - age) as u64))[l]);
        }
    }
}

#[test]
fn whose_turn_it_is_does_not_change_the_numbers_of_dsp() {
    let chain = net();
    for capacity in [vec![1, 1], vec![2, 1], vec![0, 1]] {
        let by_turns = stale(&chain, MOMENTUM, 0.05, &capacity, 30);
        for seed in 0..5 {
            // Some workers are much slower than others.
            let turn = |t: u64| (3.0 * uniform(seed, 0, t, 0).powf(0.3 + seed as f64)) as usize;
            let settings = dsp::Settings {
                rate: &|_| 0.05,
                inner: MOMENTUM,
                capacity: capacity.clone(),
                batch: &batch,
                turn: &turn,
            };
            let other = dsp::run(&chain, &settings, &start(&chain, 5), 30);
            assert_eq!(other.models, by_turns.models);
            assert_eq!(other.log, by_turns.log);
        }
    }
}

#[test]
fn dsp_on_a_chain_of_numbers_is_the_recurrence_written_out() {
    // Block k forwards batch i in iteration i + P_k at its weight of then, and goes back through it in iteration
    // i + B_k, again at its weight of then: every factor of the chain rule is of its own time.
    for (capacity, momentum) in [(vec![1, 1], 0.0), (vec![2, 1], 0.9), (vec![1, 2, 1], 0.5), (vec![3], 0.0)] {
        let blocks = capacity.len() + 1;
        let ahead: Vec<usize> = (0..blocks).map(|k| capacity[..k].iter().sum()).collect();
        let back: Vec<usize> = (0..blocks).map(|k| ahead[k] + 2 * capacity[k..].iter().sum::<usize>()).collect();
        let (rate, steps) = (|t: u64| 0.03 * (1.0 - momentum) / (1.0 + t as f64 / 30.0), 80);
        // w[k][t]: the weight of block k after t iterations.
        let mut w = vec![vec![0.9]; blocks];
        let mut m = vec![0.0; blocks];
        for t in 0..steps {
            let mut moved = Vec::new();
            for k in 0..blocks {
                let mut next = w[k][t];
                if let Some(i) = t.checked_sub(back[k]) {
                    let product = |from: usize, to: usize| (from..to).map(|q| w[q][i + ahead[q]]).product::<f64>();
                    let mut g = product(0, blocks) - 2.0;
                    for q in k + 1..blocks {
                        g *= w[q][i + back[q]];
                    }
                    g *= product(0, k);
                    m[k] = momentum * m[k] + g;
                    next -= rate(t as u64) * m[k];
                }
                moved.push(next);
            }
            for k in 0..blocks {
                w[k].push(moved[k]);
            }
        }
        let chain = Chain::scalar(blocks);
        let settings = dsp::Settings {
            rate: &rate,
            inner: Inner::Sgd { momentum, decay: 0.0 },
            capacity,
            batch: &two,
            turn: &|t| (t % blocks as u64) as usize,
        };
        let run = dsp::run(&chain, &settings, &vec![vec![0.9]; blocks], steps);
        for t in 0..=steps {
            let expected: Vec<Vec<f64>> = (0..blocks).map(|k| vec![w[k][t]]).collect();
            assert_same(&run.models[t], &expected, 1e-12);
        }
    }
}

#[test]
fn a_gradient_of_dsp_belongs_to_no_point_that_the_model_visited() {
    let chain = net();
    let run = stale(&chain, Inner::PLAIN, 0.1, &[1, 1], 20);
    let iteration = &run.log[0][19];
    let (j, gradients) = iteration.backward.as_ref().unwrap();
    for (t, visited) in run.models.iter().enumerate() {
        let exact = chain.gradient(visited, &batch(*j));
        assert!(norm(&minus(&gradients[0], &exact[0])) > 1e-4, "{t}");
    }
    // The last block is never stale: what it forwards is what it goes back through, at the same weights.
    for own in &run.log[2] {
        assert_eq!(own.forward, own.backward.as_ref().map(|(j, _)| *j));
    }
}

#[test]
fn dsp_arrives_at_a_small_rate_and_not_at_a_large_one() {
    let chain = Chain::scalar(3);
    let end = |p: usize, rate: f64| {
        let settings = dsp::Settings {
            rate: &|_| rate,
            inner: Inner::PLAIN,
            capacity: vec![p, p],
            batch: &two,
            turn: &|t| (t % 3) as usize,
        };
        chain.loss(&dsp::run(&chain, &settings, &vec![vec![0.9]; 3], 600).models[600], &two(0))
    };
    for p in [1, 2] {
        assert!(end(p, 0.05) < 1e-29, "{p}: {}", end(p, 0.05));
        let away = end(p, 0.3);
        assert!(!away.is_finite() || away > 0.1, "{p}: {away}");
    }
}
