//! PowerSGD through all-reduces: what several ranks agree on, say, keep and send.

use std::sync::Arc;

use sordino::aggregate::Mean;
use sordino::base::{Layout, Ledger, Purpose, Role, State, Stream, Tensor, Use, flat};
use sordino::compress::{Compressor, PowerSgd};
use sordino::exchange::{Exchange, Frame, Reduce, Talk, Voice};
use sordino::fabric::{Metered, Port, Still, connect, on_threads};
use sordino::feedback::{Feedback, Residual};

fn layout(shapes: &[&[usize]]) -> Layout {
    Layout::new(shapes.iter().enumerate().map(|(i, shape)| Tensor::new(format!("t{i}"), shape, Role::Weight)))
}

fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, Use::Problem, 0, 0);
    (0..n).map(|_| stream.normal()).collect()
}

/// An n × m matrix of that rank.
fn low(seed: u64, n: usize, m: usize, rank: usize) -> Vec<f32> {
    let (left, right) = (normals(seed, n * rank), normals(seed + 1000, m * rank));
    let entry = |i: usize, j: usize| (0..rank).map(|k| left[i * rank + k] * right[k * m + j]).sum();
    (0..n * m).map(|e| entry(e / m, e % m)).collect()
}

/// A rank of a run through all-reduces: its compressor, with what it gives to one round after another.
struct Run<'a> {
    layout: &'a Layout,
    /// What a rank gives in a round, before feedback.
    offer: &'a (dyn Fn(usize, u64) -> Vec<f32> + Sync),
    rank: usize,
    feedback: bool,
    /// Saves and loads before this round.
    stop: Option<u64>,
}

/// What a rank saw: in every round what it gave, what it said, and what was agreed.
type Seen = Vec<[Vec<f32>; 3]>;

impl Run<'_> {
    fn over(&self, size: usize, rounds: u64) -> Vec<(Seen, Ledger)> {
        let ports = connect(size).into_iter().map(|p| Metered::new(p, Arc::new(Still))).collect();
        on_threads(ports, |mut port| {
            let rank = port.rank();
            let (mut compressor, mut exchange, mut mean) =
                (PowerSgd::new(self.rank), Reduce::default(), Mean::default());
            let (mut residual, mut seen) = (Residual::new(0.0, 0), Vec::new());
            for round in 0..rounds {
                if self.stop == Some(round) {
                    let mut state = State::default();
                    compressor.save(&mut state);
                    compressor = PowerSgd::new(self.rank);
                    compressor.load(&state, self.layout)?;
                }
                let mut given = (self.offer)(rank, round);
                residual.compensate(&mut given);
                let mut talk = Talk {
                    port: &mut port,
                    compressor: &mut compressor,
                    aggregator: &mut mean,
                    layout: self.layout,
                    seed: 1,
                    frame: Frame { round, silence: 1, flags: 0 },
                    purpose: &Purpose::Payload,
                    voices: &Voice::ranks(size),
                    expected: size as f64,
                    clients: false,
                    weights: &[],
                };
                let (mut said, mut agreed) = (vec![f32::NAN; given.len()], vec![f32::NAN; given.len()]);
                exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given, &mut said)?;
                exchange.finish(&mut talk, &mut said, &mut agreed)?;
                if self.feedback {
                    residual.settle(&given, &said);
                }
                seen.push([given, said, agreed]);
            }
            Ok((seen, port.meter().unwrap().ledger.clone()))
        })
        .unwrap()
    }
}

fn mean_given(ranks: &[(Seen, Ledger)], round: usize) -> Vec<f32> {
    let mut mean = ranks[0].0[round][0].clone();
    ranks[1..].iter().for_each(|r| flat::add(&mut mean, &r.0[round][0]));
    flat::divide(&mut mean, ranks.len() as f32);
    mean
}

#[test]
fn a_mean_of_low_rank_is_agreed_on_at_once() {
    // Three ranks' matrices of rank 1: their mean has rank 3.
    let of = layout(&[&[30, 50], &[7], &[20, 3, 3, 3]]);
    let offer = |rank: usize, _| {
        let seed = 10 * rank as u64;
        [low(seed, 30, 50, 1), normals(seed + 1, 7), low(seed + 2, 20, 27, 1)].concat()
    };
    for (rank, exact) in [(3, true), (4, true), (2, false)] {
        let ranks = Run { layout: &of, offer: &offer, rank, feedback: false, stop: None }.over(3, 2);
        for round in 0..2 {
            let mean = mean_given(&ranks, round);
            let far = flat::distance(&mean, &ranks[0].0[round][2]) / flat::norm(&mean);
            assert_eq!(far < 2e-6, exact, "rank {rank}, round {round}: {far:e}");
            assert_eq!(ranks[0].0[round][2][1500..1507], mean[1500..1507], "the vector is the mean, bit for bit");
        }
    }
}

#[test]
fn full_rank_is_the_mean() {
    let of = layout(&[&[9, 14], &[5], &[1, 40]]);
    let offer = |rank: usize, round| normals(rank as u64 + 10 * round, 171);
    let ranks = Run { layout: &of, offer: &offer, rank: 9, feedback: false, stop: None }.over(4, 3);
    for round in 0..3 {
        assert!(ranks.iter().all(|(seen, _)| seen[round][2] == mean_given(&ranks, round)));
    }
    // Rank 8 of 9 with feedback: what is left out is said later.
    let sums = |feedback| {
        let long = layout(&[&[9, 100]]);
        let fixed = |rank: usize, _| normals(rank as u64, 900);
        let ranks = Run { layout: &long, offer: &fixed, rank: 8, feedback, stop: None }.over(2, 40);
        let (mut sum, mut mean) = (vec![0.0; 900], normals(0, 900));
        ranks[0].0.iter().for_each(|round| flat::add(&mut sum, &round[2]));
        flat::add(&mut mean, &normals(1, 900));
        flat::divide(&mut mean, 2.0);
        flat::divide(&mut sum, 40.0);
        flat::distance(&sum, &mean) / flat::norm(&mean)
    };
    let (with, without) = (sums(true), sums(false));
    assert!(with < 0.02 && without > 0.1, "{with} {without}");
}

/// The singular values of an n × m matrix, largest first, by Jacobi's rotations of columns.
fn singular_values(matrix: &[f32], m: usize) -> Vec<f64> {
    let mut columns: Vec<Vec<f64>> =
        (0..m).map(|j| matrix.iter().skip(j).step_by(m).map(|v| f64::from(*v)).collect()).collect();
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..30 {
        for j in 1..m {
            for i in 0..j {
                let (head, tail) = columns.split_at_mut(j);
                let (x, y) = (&mut head[i], &mut tail[0]);
                let (a, b, c) = (dot(x, x), dot(y, y), dot(x, y));
                if c.abs() <= 1e-15 * (a * b).sqrt() {
                    continue;
                }
                let zeta = (b - a) / (2.0 * c);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cos = 1.0 / (1.0 + t * t).sqrt();
                for (x, y) in x.iter_mut().zip(y.iter_mut()) {
                    (*x, *y) = (cos * (*x - t * *y), cos * (t * *x + *y));
                }
            }
        }
    }
    let mut values: Vec<f64> = columns.iter().map(|c| dot(c, c).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

#[test]
fn the_warm_start_converges_to_the_best_rank_r_error() {
    let (n, m) = (40, 30);
    let of = layout(&[&[n, m]]);
    // Twelve large directions over a noise of all the others.
    let mut matrix = low(3, n, m, 12);
    flat::add_scaled(&mut matrix, 0.3, &normals(77, n * m));
    let values = singular_values(&matrix, m);
    let whole: f64 = values.iter().map(|v| v * v).sum();
    assert!((whole - flat::squared_norm(&matrix)).abs() < 1e-9 * whole);
    for rank in [1, 2, 4] {
        let best = values[rank..].iter().map(|v| v * v).sum::<f64>().sqrt();
        let offer = |_, _| matrix.clone();
        let ranks = Run { layout: &of, offer: &offer, rank, feedback: false, stop: None }.over(2, 150);
        let error = |round: usize| flat::distance(&ranks[0].0[round][2], &matrix);
        assert!(error(0) > 1.001 * best, "rank {rank}: the first round is no test: {} of {best}", error(0));
        assert!((error(149) - best).abs() < 1e-4 * best, "rank {rank}: {} instead of {best}", error(149));
        assert!((1..150).all(|r| error(r) <= error(r - 1) * (1.0 + 1e-5)), "a step never makes it worse");
    }
}

#[test]
fn zeros_are_agreed_on_as_zeros_and_what_comes_after_them_is_not_lost() {
    let of = layout(&[&[16, 20], &[3]]);
    let late = low(5, 16, 20, 2);
    let offer = |_, round| if round < 2 { vec![0.0; 323] } else { [late.clone(), vec![1.0; 3]].concat() };
    let ranks = Run { layout: &of, offer: &offer, rank: 3, feedback: true, stop: None }.over(2, 5);
    let agreed = |round: usize| &ranks[1].0[round][2];
    assert!(agreed(0).iter().chain(agreed(1)).all(|v| *v == 0.0));
    assert!(flat::distance(&agreed(2)[..320], &late) < 1e-5 * flat::norm(&late));
    // A column that had nothing to do is there again when the rank grows.
    let grown = |_, round| if round < 2 { low(5, 16, 20, 1) } else { low(5, 16, 20, 3) };
    let of = layout(&[&[16, 20]]);
    let ranks = Run { layout: &of, offer: &grown, rank: 3, feedback: false, stop: None }.over(2, 4);
    assert!(flat::distance(&ranks[0].0[3][2], &ranks[0].0[3][0]) < 1e-5 * flat::norm(&ranks[0].0[3][0]));
}

#[test]
fn stopping_and_going_on_is_never_having_stopped() {
    let of = layout(&[&[12, 18], &[4], &[30, 7]]);
    let offer = |rank: usize, round| normals(rank as u64 + 10 * round, 430);
    let run = |stop| Run { layout: &of, offer: &offer, rank: 2, feedback: true, stop }.over(3, 6);
    let bits = |ranks: &[(Seen, Ledger)]| -> Vec<u64> {
        ranks.iter().flat_map(|(seen, _)| seen.iter().map(|round| flat::fingerprint(&round[2]))).collect()
    };
    let whole = bits(&run(None));
    assert_eq!(bits(&run(Some(3))), whole);
    assert_eq!(whole[..6], whole[6..12], "all ranks agree on the same bits");
    // Without its Q it would have gone elsewhere.
    let mut state = State::default();
    PowerSgd::new(2).save(&mut state);
    assert!(state.is_empty());
    state.put("warm", &[0.0; 3]);
    assert!(PowerSgd::new(2).load(&state, &of).is_err());
}

#[test]
fn given_is_said_and_kept_and_said_is_what_all_agreed_on() {
    let of = layout(&[&[12, 18], &[4]]);
    let offer = |rank: usize, round| normals(rank as u64 + 10 * round, 220);
    let ranks = Run { layout: &of, offer: &offer, rank: 2, feedback: true, stop: None }.over(3, 4);
    for (rank, (seen, _)) in ranks.iter().enumerate() {
        for (round, [_, said, agreed]) in seen.iter().enumerate() {
            assert_eq!(said, agreed);
            assert_eq!(agreed, &ranks[0].0[round][2]);
        }
        // What is given next is the next gradient and all that the global reconstruction left of what was given.
        for round in 0..3 {
            let mut next = offer(rank, round as u64 + 1);
            let kept: Vec<f32> = seen[round][0].iter().zip(&seen[round][2]).map(|(g, s)| g - s).collect();
            flat::add(&mut next, &kept);
            assert_eq!(seen[round + 1][0], next);
        }
    }
}

#[test]
fn two_all_reduces_of_factors_are_all_that_travels() {
    let (size, rank) = (4, 4);
    let of = layout(&[&[100, 200], &[17], &[64, 3, 3, 3]]);
    let offer = |rank: usize, _| normals(rank as u64, of.len());
    let ranks = Run { layout: &of, offer: &offer, rank, feedback: false, stop: None }.over(size, 1);
    let mut ledger = Ledger::default();
    for (_, theirs) in &ranks {
        ledger.merge(theirs);
    }
    let (sent, received) = ledger.busiest(size, None);
    let shorts = 4 * rank * (100 + 200) + 4 * rank * (64 + 27) + 4 * 17;
    let ideal = 2 * (size - 1) * shorts / size;
    // Twelve messages in two times two directions, each with a frame of some bytes and a chunk of one entry more.
    for bytes in [sent, received] {
        assert!((ideal as u64..=ideal as u64 + 12 * 20).contains(&bytes), "{bytes} {ideal}");
    }
}
