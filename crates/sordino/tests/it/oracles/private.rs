//! Private rows, with the noise that the library draws.

use std::sync::Arc;

use sordino::Result;
use sordino::base::Layout;
use sordino::privacy::Noise;
use sordino::testing::Trial;
use sordino::workload::{Batch, Draw, Metrics, Part, Rows, Split, Start, Task, Workload};

use super::{
    SEED, compare,
    federated::{asked, models, played, same, seven, unequal},
    library, problems,
};
use crate::oracle::{
    clients::Clients,
    clip21_sgd2m, dp_clip21, dp_fedavg, dp_sgd,
    inner::Inner,
    problem::{Problem, Rate, normal},
};
use crate::worlds::{Posed, narrow, row, wide};

const DIM: usize = 24;
const PEAK: Rate = &|_| 0.05;

/// What stands in for nobody.
const NOBODY: u64 = u64::MAX;

/// The noise of a voice in a round, of deviation 1: entry by entry.
fn drawn(seed: u64, client: u64, round: u64) -> Vec<f64> {
    let mut noise = vec![0.0f32; DIM];
    Noise::from_seed(seed).fill(client, round, 1.0, &mut noise);
    wide(&noise)
}

/// The noise of every worker in every step, as a reference asks for it.
fn table(seed: u64, rounds: u64) -> impl Fn(usize, u64, usize) -> f64 {
    let rows = |i| (0..rounds).map(|t| drawn(seed, i, t)).collect::<Vec<_>>();
    let table: Vec<_> = (0..4).map(rows).collect();
    move |i, t, j| table[i][t as usize][j]
}

#[test]
fn private_averaging_clips_every_client_and_divides_by_who_was_expected() {
    for problem in seven(DIM) {
        let sets = [
            "optim.rate=0.05",
            "schedule=constant(4)",
            "participation=poisson(1.5, clients=7)",
            "privacy.clip=0.05",
            "privacy.noise=0.2",
            "privacy.seed=11",
        ];
        let (found, recipe) = played("dp-fedavg", &sets, &unequal(&problem), 160);
        let sample = asked(&recipe, SEED);
        assert!((0..40).any(|round| sample(round).is_empty()), "some round is empty");
        let shortened: u64 = found.iter().flat_map(|r| &r.rounds).map(|r| r.told.shortened).sum();
        assert!(shortened > 0, "somebody is cut");
        let oracle = |clip, multiplier, expected, seed| {
            // The reference's displacements are those of the model, the library's what is taken from it: the other sign.
            let rounds: Vec<Vec<f64>> = (0..40)
                .map(|round| {
                    let mut voices: Vec<u64> = sample(round).into_iter().map(|k| k as u64).collect();
                    if voices.is_empty() {
                        voices.push(NOBODY);
                    }
                    let each: Vec<_> = voices.iter().map(|k| drawn(seed, *k, round)).collect();
                    let share = 1.0 / (voices.len() as f64).sqrt();
                    (0..DIM).map(|j| -share * each.iter().map(|n| n[j]).sum::<f64>()).collect()
                })
                .collect();
            let settings = dp_fedavg::Settings {
                rate: PEAK,
                inner: Inner::PLAIN,
                outer_rate: 1.0,
                clip,
                multiplier,
                expected,
                clients: Clients { sizes: vec![1.0; 7], sample: &sample, steps: &same(4) },
                noise: &|round, j| rounds[round as usize][j],
            };
            dp_fedavg::trajectory(&*problem, &settings, 40)
        };
        let controls = [
            oracle(0.049, 0.2, 1.5, 11),
            oracle(0.05, 0.19, 1.5, 11),
            oracle(0.05, 0.2, 1.6, 11),
            oracle(0.05, 0.2, 1.5, 12),
        ];
        compare("dp-fedavg", &models(&found), &oracle(0.05, 0.2, 1.5, 11), &controls);
    }
}

#[test]
fn private_clip21_remembers_what_it_said_or_what_it_meant() {
    for problem in problems(DIM) {
        for remember in ["said", "clean"] {
            let sets = [
                "optim.rate=0.05",
                "local.batch=full",
                "privacy.clip=0.3",
                "privacy.noise=0.5",
                "privacy.seed=11",
                &format!("privacy.remember={remember}"),
            ];
            let found = library("dp-clip21", &sets, &Posed::whole(problem.clone()), 60, 60);
            let oracle = |tau, deviation, seed, in_shift| {
                let noise = table(seed, 60);
                let settings = dp_clip21::Settings { rate: PEAK, tau, deviation, noise: &noise, in_shift };
                dp_clip21::trajectory(&*problem, &settings, 60)
            };
            let said = remember == "said";
            let controls = [
                oracle(0.3, 0.15, 11, !said),
                oracle(0.297, 0.15, 11, said),
                oracle(0.3, 0.149, 11, said),
                oracle(0.3, 0.15, 12, said),
            ];
            let name = format!("dp-clip21, remember={remember}");
            compare(&name, &super::models(&found), &oracle(0.3, 0.15, 11, said), &controls);
        }
    }
}

#[test]
fn double_momentum_damps_the_gradient_and_the_shift() {
    for problem in problems(DIM) {
        let task = Posed::whole(problem.clone());
        let oracle = |beta, beta_hat, deviation| {
            let noise = table(11, 80);
            let settings = clip21_sgd2m::Settings { rate: PEAK, tau: 0.3, beta, beta_hat, deviation, noise: &noise };
            clip21_sgd2m::trajectory(&*problem, &settings, 80)
        };
        let rate = ["optim.rate=0.05", "feedback=ef21(momentum=0.2, step=0.4)"];
        let found = library("clip21-sgd2m", &[&rate[..], &["compress=dense(clip=0.3)"]].concat(), &task, 80, 80);
        let controls = [oracle(0.21, 0.4, 0.0), oracle(0.2, 0.39, 0.0), oracle(1.0, 1.0, 0.0)];
        compare("clip21-sgd2m", &super::models(&found), &oracle(0.2, 0.4, 0.0), &controls);
        let noisy = ["compress=dense", "privacy=gaussian(clip=0.3, noise=0.5, seed=11, remember=clean)"];
        let found = library("clip21-sgd2m", &[&rate[..], &noisy].concat(), &task, 80, 80);
        let controls = [oracle(0.2, 0.4, 0.0), oracle(0.2, 0.41, 0.15), oracle(0.2, 0.4, 0.149)];
        compare("clip21-sgd2m with noise", &super::models(&found), &oracle(0.2, 0.4, 0.15), &controls);
    }
}

/// Quadratics around rows: the gradient of row s of worker i at x is h (x - a_is), entry by entry.
struct Rowed {
    rows: Arc<Vec<Vec<u32>>>,
}

impl Rowed {
    fn new() -> Self {
        let shard = |i: u32| (20 * i..20 * i + 14 + 2 * i).collect();
        Self { rows: Arc::new((0..3).map(shard).collect()) }
    }

    fn gradient(row: u32, x: &[f64]) -> Vec<f64> {
        let curvature = |j: usize| 0.3 + 0.05 * j as f64;
        (0..x.len()).map(|j| curvature(j) * (x[j] - normal(4, row as usize, 0, j))).collect()
    }
}

struct RowedShare {
    rows: Rows,
    layout: Layout,
}

impl Task for Rowed {
    fn name(&self) -> &'static str {
        "rowed"
    }

    fn workload(&self, _: usize, _: u64) -> Result<Box<dyn Workload>> {
        Ok(Box::new(RowedShare { rows: Rows::shards(Arc::clone(&self.rows)), layout: Layout::vector(DIM) }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

impl Workload for RowedShare {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![1.0; DIM], buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, _: &[f32], _: &mut [f32], _: &Draw, _: &mut [f32]) -> Result<f64> {
        unreachable!("rows are clipped one by one")
    }

    fn parts(
        &mut self,
        x: &[f32],
        _: &mut [f32],
        draw: &Draw,
        _: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        for row in self.rows.pick(draw)? {
            gradient.copy_from_slice(&narrow(&Rowed::gradient(*row, &wide(x))));
            each(gradient, 1, 0.0)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
        Ok(None)
    }
}

/// What the reference asks of a problem beside the rows.
struct Three;

impl Problem for Three {
    fn workers(&self) -> usize {
        3
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn start(&self) -> Vec<f64> {
        vec![1.0; DIM]
    }

    fn gradient(&self, _: usize, _: u64, _: &[f64]) -> Vec<f64> {
        unreachable!("rows are clipped one by one")
    }

    fn loss(&self, _: &[f64]) -> f64 {
        0.0
    }
}

#[test]
fn rows_are_perturbed_clipped_one_by_one_and_hidden_by_their_worker() {
    let task = Rowed::new();
    let batch = |i: usize, t: u64| {
        let mut rows = Rows::shards(Arc::clone(&task.rows));
        let draw = Draw { seed: SEED, client: i as u64, step: t, batch: Batch::Poisson(2) };
        rows.pick(&draw).unwrap().iter().map(|row| *row as usize).collect::<Vec<_>>()
    };
    assert!((0..60).any(|t| batch(0, t).is_empty()) && (0..60).any(|t| batch(0, t).len() > 3), "batches differ");
    // The library keys perturbations by a row's place in its draw.
    let zeta = |i: usize, t: u64, s: usize, j: usize| {
        let place = batch(i, t).iter().position(|row| *row == s).unwrap();
        let mut noise = vec![0.0f32; DIM];
        Noise::from_seed(SEED).perturb(i as u64, t, place as u64, 1.0, &mut noise);
        f64::from(noise[j])
    };
    let noise = table(11, 60);
    for perturb in [0.0, 0.2] {
        let oracle = |clip, multiplier, expected, perturb| {
            let settings = dp_sgd::Settings {
                rate: &|_| 0.1,
                inner: Inner::Sgd { momentum: 0.5, decay: 0.0 },
                clip,
                multiplier,
                expected,
                batch: &batch,
                noise: &noise,
                perturb,
                zeta: &zeta,
                sample: &|_, s, x| Rowed::gradient(s as u32, x),
            };
            dp_sgd::trajectory(&Three, &settings, 60)
        };
        let local = format!("local=descent(batch=poisson(2), estimate=per_sample(clip=0.8, perturb={perturb}))");
        let sets = ["optim=sgd(rate=0.1, momentum=0.5)", &local, "privacy.noise=0.3", "privacy.seed=11"];
        let found = Trial::new(&row("dp-sgd", &sets), &task, 3, SEED, 60).run().unwrap();
        assert!(found[0].rounds.iter().any(|r| r.told.clipped_rows > 0), "some row is clipped");
        let controls = [
            oracle(0.79, 0.3, 2.0, perturb),
            oracle(0.8, 0.29, 2.0, perturb),
            oracle(0.8, 0.3, 2.05, perturb),
            oracle(0.8, 0.3, 2.0, perturb + 0.01),
        ];
        compare("dp-sgd", &super::models(&found), &oracle(0.8, 0.3, 2.0, perturb), &controls);
    }
}
