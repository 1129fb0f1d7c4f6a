//! Words that are late on purpose: delayed averaging, with and without an outer step, and delayed gradients.

use super::{compare, cosine, library, models, problems};
use crate::oracle::{delayed, inner::Inner};
use crate::worlds::Posed;

const SGD: Inner = Inner::Sgd { momentum: 0.9, decay: 1e-3 };
const SGD_SET: &str = "optim=sgd(rate=0.05, momentum=0.9, decay=0.001, schedule=cosine)";
const ADAMW_SET: &str = "optim=adamw(rate=0.01, schedule=cosine)";

#[test]
fn models_that_are_averaged_while_everybody_goes_on() {
    for problem in problems(24) {
        for (set, inner, peak) in [(SGD_SET, SGD, 0.05), (ADAMW_SET, Inner::ADAMW, 0.01)] {
            // The third comes in only when the next words are to be said.
            for (every, late) in [(8, 3), (5, 5), (3, 7)] {
                let steps = 40 * every;
                let rate = cosine(peak, 0, steps);
                let oracle = |late, every| {
                    let settings = delayed::Settings {
                        rate: &rate,
                        inner,
                        every,
                        late,
                        fragments: delayed::whole(24),
                        outer: (1.0, 0.0),
                    };
                    delayed::trajectory(&*problem, &settings, steps)
                };
                let sets = [set, &format!("schedule.every={every}"), &format!("staleness=delayed({late})")];
                let of = |payload| {
                    library("local-sgd", &[&sets[..], &[payload]].concat(), &Posed::whole(problem.clone()), steps, 40)
                };
                let controls = [oracle(late.min(every) / 2, every), oracle(0, every)];
                compare("local-sgd", &models(&of("payload=displacement")), &oracle(late, every), &controls);
                compare("local-sgd, parameters", &models(&of("payload=parameters")), &oracle(late, every), &controls);
            }
        }
    }
}

#[test]
fn outer_steps_on_what_is_agreed_late() {
    for problem in problems(16) {
        let inner = Inner::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1 };
        let oracle = |late, beta| {
            let settings = delayed::Settings {
                rate: &|_| 2e-3,
                inner,
                every: 20,
                late,
                fragments: delayed::whole(16),
                outer: (0.7, beta),
            };
            delayed::trajectory(&*problem, &settings, 640)
        };
        let sets = ["optim.rate=0.002", "schedule.every=20", "staleness=delayed(6)"];
        let found = library("diloco", &sets, &Posed::whole(problem.clone()), 640, 32);
        compare("diloco", &models(&found), &oracle(6, 0.9), &[oracle(7, 0.9), oracle(0, 0.9), oracle(6, 0.89)]);
    }
}

#[test]
fn gradients_of_the_model_one_update_ago() {
    for problem in problems(24) {
        for (set, inner, peak) in [(SGD_SET, SGD, 0.05), (ADAMW_SET, Inner::ADAMW, 0.01)] {
            let rate = cosine(peak, 0, 60);
            let found = library("sync-sgd", &[set, "staleness=delayed"], &Posed::whole(problem.clone()), 60, 60);
            let prompt = library("sync-sgd", &[set], &Posed::whole(problem.clone()), 60, 60);
            let late = delayed::gradients(&*problem, &rate, inner, 60);
            compare("sync-sgd", &models(&found), &late, &[models(&prompt)]);
        }
    }
}

#[test]
fn fragments_that_take_turns_while_everybody_goes_on() {
    for problem in problems(24) {
        let inner = Inner::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1 };
        let task = Posed { tensors: vec![8, 9, 7], ..Posed::whole(problem.clone()) };
        let thirds = || vec![0..8, 8..17, 17..24];
        for late in [0, 4] {
            let oracle = |late, fragments| {
                let settings =
                    delayed::Settings { rate: &|_| 2e-3, inner, every: 10, late, fragments, outer: (0.7, 0.9) };
                delayed::trajectory(&*problem, &settings, 600)
            };
            let sets = [
                "optim.rate=0.002",
                "schedule.every=10",
                "payload=displacement(fragments=3)",
                "feedback=residual(lambda=1)",
                &format!("staleness=delayed({late})"),
            ];
            let found = models(&library("diloco", &sets, &task, 600, 60));
            let controls =
                [oracle(late + 2, thirds()), oracle(late, delayed::whole(24)), oracle(late, vec![0..8, 8..24])];
            compare("diloco", &found, &oracle(late, thirds()), &controls);
        }
    }
}
