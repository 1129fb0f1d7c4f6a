//! Synchronous and local methods, their schedules and outer steps.

use super::{compare, cosine, library, models, problems};
use crate::oracle::{
    diloco,
    inner::Inner,
    local_sgd, post_local_sgd,
    problem::{Problem, Rate},
    qsr, slowmo, sync_sgd,
};
use crate::worlds::Posed;

const SGD: Inner = Inner::Sgd { momentum: 0.9, decay: 1e-3 };
const SGD_SET: &str = "optim=sgd(rate=0.05, momentum=0.9, decay=0.001, schedule=cosine)";
const ADAMW_SET: &str = "optim=adamw(rate=0.01, schedule=cosine)";

#[test]
fn sync_sgd_with_sgd_and_with_adamw() {
    for problem in problems(24) {
        for (set, inner, peak) in [(SGD_SET, SGD, 0.05), (ADAMW_SET, Inner::ADAMW, 0.01)] {
            let rate = cosine(peak, 0, 60);
            let oracle = |problem: &dyn Problem, rate: Rate, inner| {
                sync_sgd::trajectory(problem, &sync_sgd::Settings { rate, inner }, 60)
            };
            let found = library("sync-sgd", &[set], &Posed::whole(problem.clone()), 60, 60);
            let controls = [oracle(&*problem, &|t| 1.01 * rate(t), inner), oracle(&*problem, &rate, Inner::PLAIN)];
            compare("sync-sgd", &models(&found), &oracle(&*problem, &rate, inner), &controls);
        }
    }
}

#[test]
fn local_sgd_with_sgd_and_with_adamw() {
    for problem in problems(24) {
        for (set, inner, peak) in [(SGD_SET, SGD, 0.05), (ADAMW_SET, Inner::ADAMW, 0.01)] {
            let rate = cosine(peak, 0, 320);
            let oracle = |every| {
                let settings = local_sgd::Settings { rate: &rate, inner, every };
                local_sgd::trajectory(&*problem, &settings, 40)
            };
            let found = library("local-sgd", &[set], &Posed::whole(problem.clone()), 320, 40);
            compare("local-sgd", &models(&found), &oracle(8), &[oracle(7)]);
            // The same news as displacements.
            let sets = [set, "payload=displacement", "exchange=star"];
            let found = library("local-sgd", &sets, &Posed::whole(problem.clone()), 320, 40);
            compare("local-sgd, displacements", &models(&found), &oracle(8), &[oracle(7)]);
        }
    }
}

#[test]
fn post_local_sgd_switches_where_it_should() {
    for problem in problems(24) {
        let rate = cosine(0.05, 0, 100);
        let oracle = |switch| {
            let settings = post_local_sgd::Settings { rate: &rate, inner: SGD, every: 16, switch, steps: 100 };
            post_local_sgd::trajectory(&*problem, &settings, usize::MAX)
        };
        let found = library("post-local-sgd", &[SGD_SET], &Posed::whole(problem.clone()), 100, 100);
        // 50 steps alone, then 16, 16, 16 and 2.
        assert_eq!(found[0].rounds.len(), 54);
        compare("post-local-sgd", &models(&found), &oracle(50), &[]);
        assert_ne!(oracle(34).len(), oracle(50).len());
    }
}

#[test]
fn the_quadratic_rule_with_sgd_and_with_adamw_inside() {
    for problem in problems(24) {
        for (optim, inner, peak, alpha) in [
            ("optim=sgd(rate=0.1, momentum=0.9, decay=0.001, schedule=cosine(warmup=10))", SGD, 0.1, 0.15),
            ("optim=adamw(rate=0.02, schedule=cosine(warmup=10))", Inner::ADAMW, 0.02, 0.03),
        ] {
            let rate = cosine(peak, 10, 240);
            let settings = |alpha, inner| qsr::Settings {
                rate: &rate,
                inner,
                base: 3,
                alpha,
                warmup: 10,
                steps: 240,
                hold_while_rising: true,
            };
            let schedule = format!("schedule=qsr(base=3, alpha={alpha})");
            let found = library("qsr", &[optim, &schedule], &Posed::whole(problem.clone()), 240, 240);
            let silences: Vec<u64> = found[0].rounds.iter().map(|r| r.told.silence).collect();
            let periods = qsr::periods(&settings(alpha, inner));
            assert_eq!(silences, periods);
            assert!(periods.len() > 30 && periods.contains(&7) && periods.iter().max() > Some(&20), "{periods:?}");
            assert_ne!(qsr::periods(&settings(1.1 * alpha, inner)), periods);
            let oracle = |inner| qsr::trajectory(&*problem, &settings(alpha, inner), usize::MAX);
            compare("qsr", &models(&found), &oracle(inner), &[oracle(Inner::PLAIN)]);
        }
    }
}

#[test]
fn slow_momentum_with_sgd_reset_and_adam_kept() {
    for problem in problems(24) {
        for (sets, inner, peak) in
            [(&[SGD_SET][..], SGD, 0.05), (&[ADAMW_SET, "local.state=keep"][..], Inner::ADAMW, 0.01)]
        {
            let rate = cosine(peak, 0, 480);
            let oracle = |beta, inner| {
                let settings = slowmo::Settings { rate: &rate, inner, every: 12, alpha: 1.0, beta };
                slowmo::trajectory(&*problem, &settings, 36)
            };
            let found = library("slowmo", sets, &Posed::whole(problem.clone()), 480, 36);
            compare("slowmo", &models(&found), &oracle(0.7, inner), &[oracle(0.69, inner)]);
        }
        // State that is kept is another method.
        let rate = cosine(0.05, 0, 480);
        let settings = slowmo::Settings { rate: &rate, inner: SGD, every: 12, alpha: 1.0, beta: 0.7 };
        let kept = library("slowmo", &[SGD_SET, "local.state=keep"], &Posed::whole(problem.clone()), 480, 36);
        assert!(super::farthest(&models(&kept), &slowmo::trajectory(&*problem, &settings, 36)) > 1e-3);
    }
}

#[test]
fn diloco_keeps_its_state_and_steps_outside_with_nesterov() {
    for problem in problems(16) {
        let inner = Inner::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1 };
        let oracle = |beta, outer_rate| {
            let settings = diloco::Settings { rate: &|_| 2e-3, inner, every: 50, outer_rate, beta };
            diloco::trajectory(&*problem, &settings, 32)
        };
        let found = library("diloco", &["optim.rate=0.002"], &Posed::whole(problem.clone()), 1600, 32);
        let controls = [oracle(0.89, 0.7), oracle(0.9, 0.71), oracle(0.0, 1.0)];
        compare("diloco", &models(&found), &oracle(0.9, 0.7), &controls);
    }
}
