//! Clipping: by the rate, and before sending.

use std::sync::Arc;

use super::{compare, cosine, library, models, problems};
use crate::oracle::{
    celgc, clip_gd, clip21,
    compress::top_k,
    ef21,
    mixed_clip::{self, Rule},
    parallel_clip, press_clip21,
    problem::{Noise, Quartics},
};
use crate::worlds::{Posed, Shared};

/// The shared problems and steep quartics.
fn steep(dim: usize) -> Vec<Shared> {
    let mut all = problems(dim);
    all.push(Arc::new(Quartics::scattered(4, dim, Noise::Uniform(0.3))));
    all
}

#[test]
fn celgc_clips_every_local_step_by_its_own_gradient() {
    for problem in steep(24) {
        for (momentum, decay) in [(0.0, 0.0), (0.8, 1e-3)] {
            let rate = cosine(0.1, 0, 320);
            let oracle = |gamma: f64| {
                let bound = |t| gamma / 0.1 * rate(t);
                let settings = celgc::Settings { rate: &rate, gamma: &bound, momentum, decay, every: 8 };
                celgc::trajectory(&*problem, &settings, 40)
            };
            let optim = format!("optim=sgd(rate=0.1, clip=0.05, momentum={momentum}, decay={decay}, schedule=cosine)");
            let found = library("celgc", &[&optim], &Posed::whole(problem.clone()), 320, 40);
            let clipped: u64 = found.iter().flat_map(|r| &r.rounds).map(|r| r.told.clipped).sum();
            assert!(clipped > 0, "some step is clipped");
            compare("celgc", &models(&found), &oracle(0.05), &[oracle(0.0495)]);
        }
    }
}

#[test]
fn parallel_clipping_clips_by_the_mean_gradient() {
    for problem in steep(24) {
        for (momentum, decay) in [(0.0, 0.0), (0.8, 1e-3)] {
            let rate = cosine(0.1, 0, 200);
            let oracle = |gamma: f64| {
                let bound = |t| gamma / 0.1 * rate(t);
                let settings = parallel_clip::Settings { rate: &rate, gamma: &bound, momentum, decay };
                parallel_clip::trajectory(&*problem, &settings, 200)
            };
            let optim = format!("optim=sgd(rate=0.1, clip=0.03, momentum={momentum}, decay={decay}, schedule=cosine)");
            let found = library("parallel-clip", &[&optim], &Posed::whole(problem.clone()), 200, 200);
            assert!(found[0].rounds.iter().any(|r| r.told.clipped > 0), "some step is clipped");
            compare("parallel-clip", &models(&found), &oracle(0.03), &[oracle(0.0297)]);
        }
    }
}

#[test]
fn mixed_and_momentum_clipping_clip_what_is_averaged_over_time() {
    for problem in steep(24) {
        for (name, nu, beta, form, rule) in [
            ("mixed-clip", 0.7, 0.99, "soft", Rule::Soft),
            ("mixed-clip", 0.4, 0.9, "hard", Rule::Hard),
            ("momentum-clip", 1.0, 0.9, "soft", Rule::Soft),
            ("momentum-clip", 1.0, 0.8, "hard", Rule::Hard),
        ] {
            let oracle = |gamma: f64| {
                let settings = mixed_clip::Settings { rate: &|_| 0.3, gamma, nu, beta, decay: 1e-3, rule };
                mixed_clip::trajectory(&*problem, &settings, 200)
            };
            let optim = format!("optim=mixclip(0.3, {nu}, {beta}, 0.05, {form}, decay=0.001, schedule=constant)");
            let found = library(name, &[&optim], &Posed::whole(problem.clone()), 200, 200);
            assert!(found[0].rounds.iter().any(|r| r.told.clipped > 0), "some step is clipped");
            compare(name, &models(&found), &oracle(0.05), &[oracle(0.0495)]);
        }
    }
}

#[test]
fn clip_gd_clips_before_it_sends() {
    for problem in problems(24) {
        let oracle = |tau| clip_gd::trajectory(&*problem, &clip_gd::Settings { rate: &|_| 0.2, tau }, 60);
        let sets = ["optim.rate=0.2", "compress=clipped(0.5)", "local.batch=full"];
        let found = library("clip-gd", &sets, &Posed::whole(problem.clone()), 60, 60);
        compare("clip-gd", &models(&found), &oracle(0.5), &[oracle(0.49)]);
    }
}

#[test]
fn clip21_clips_differences() {
    for problem in problems(24) {
        let oracle = |tau| clip21::trajectory(&*problem, &clip21::Settings { rate: &|_| 0.1, tau }, 60);
        let sets = ["optim.rate=0.1", "compress=clipped(0.3)", "local.batch=full"];
        let found = library("clip21", &sets, &Posed::whole(problem.clone()), 60, 60);
        compare("clip21", &models(&found), &oracle(0.3), &[oracle(0.297)]);
        let star = library("clip21", &[&sets[..], &["exchange=star"]].concat(), &Posed::whole(problem.clone()), 60, 60);
        compare("clip21 through a server", &models(&star), &oracle(0.3), &[oracle(0.297)]);
    }
}

#[test]
fn press_clip21_clips_first_and_compresses_then() {
    for problem in problems(24) {
        let oracle = |tau, ratio| {
            let settings = press_clip21::Settings { rate: &|_| 0.1, tau, compress: &|v| top_k(v, ratio) };
            press_clip21::trajectory(&*problem, &settings, 60)
        };
        let sets = ["optim.rate=0.1", "compress.clip=0.3", "local.batch=full"];
        let found = library("press-clip21", &sets, &Posed::whole(problem.clone()), 60, 60);
        compare("press-clip21", &models(&found), &oracle(0.3, 0.25), &[oracle(0.297, 0.25), oracle(0.3, 0.3)]);
    }
}

#[test]
fn ef21_sends_compressed_differences() {
    for problem in problems(60) {
        let oracle = |ratio, exact_start| {
            let settings = ef21::Settings { rate: &|_| 0.05, compress: &|v| top_k(v, ratio), exact_start };
            ef21::trajectory(&*problem, &settings, 60)
        };
        let sets = ["optim.rate=0.05", "local.batch=full"];
        let found = library("ef21", &sets, &Posed::whole(problem.clone()), 60, 60);
        compare("ef21", &models(&found), &oracle(0.05, false), &[oracle(0.07, false), oracle(0.05, true)]);
    }
}
