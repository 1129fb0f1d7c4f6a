//! Neutral elements, and settings of one element that are another.

use std::sync::Arc;

use sordino::base::flat;
use sordino::estimate::MICRO_NORMS;
use sordino::testing::Trial;
use sordino::workload::{Batch, Deal, Draw, Task};

use super::{run, same_bits};
use crate::oracle::problem::{Noise, Quadratics};
use crate::worlds::{Buffered, Posed, apart, neutral, quadratic, row, sparse};

#[test]
fn all_neutral_is_the_mean_of_the_rates_times_gradients_in_rank_order_bit_for_bit() {
    let task = quadratic();
    let trial = run(&neutral(&["optim.rate=0.3"]), &task, 4, 30);
    let mut shares = task.workload(4, 5).unwrap();
    let mut x = shares.start(5).parameters;
    for (step, round) in trial[2].rounds.iter().enumerate() {
        let mut mean = vec![0.0f32; x.len()];
        for rank in 0..4 {
            let draw = Draw { seed: 5, client: rank as u64, step: step as u64, batch: Batch::Rows(32) };
            let mut g = vec![0.0f32; x.len()];
            shares.gradient(&x, &mut [], &draw, &mut g).unwrap();
            for (m, g) in mean.iter_mut().zip(&g) {
                *m = if rank == 0 { 0.3 * g } else { *m + 0.3 * g };
            }
        }
        for (x, m) in x.iter_mut().zip(&mean) {
            *x -= m / 4.0;
        }
        assert_eq!(flat::fingerprint(&x), flat::fingerprint(&round.model), "step {step}");
    }
}

#[test]
fn selecting_everything_is_dense() {
    for element in ["topk(1)", "randk(1)", "block(1)", "topk(1, scope=model)", "randk(1, scale=unbiased)"] {
        let all = neutral(&[&format!("compress={element}")]);
        same_bits(&Buffered, &all, &neutral(&[]), 20);
    }
}

#[test]
fn clipping_at_a_threshold_that_nothing_reaches_is_dense() {
    same_bits(&Buffered, &neutral(&["compress=clipped(1e6)"]), &neutral(&[]), 20);
    same_bits(&Buffered, &neutral(&["compress=dense(clip=1e6)"]), &neutral(&[]), 20);
}

#[test]
fn feedback_over_a_lossless_codec_is_none() {
    for lambda in ["0", "0.3", "1"] {
        let residual = neutral(&[&format!("feedback=residual(lambda={lambda}, every=3)"), "schedule.every=2"]);
        same_bits(&Buffered, &residual, &neutral(&["schedule.every=2"]), 20);
    }
    // EF21's shifts add up differences: the same to rounding.
    let ef21 = run(&neutral(&["feedback=ef21"]), &Buffered, 4, 20);
    let none = run(&neutral(&[]), &Buffered, 4, 20);
    for (a, b) in ef21[0].models().iter().zip(none[0].models()) {
        assert!(apart(a, b) < 1e-5);
    }
}

#[test]
fn feedback_over_a_lossy_codec_is_not_none() {
    let with = run(&neutral(&["compress=topk(0.1)", "feedback=residual"]), &Buffered, 4, 20);
    let without = run(&neutral(&["compress=topk(0.1)"]), &Buffered, 4, 20);
    assert!(apart(with[0].last(), without[0].last()) > 1e-2);
}

#[test]
fn star_is_gather_for_every_code_on_the_way_up() {
    for compress in ["dense", "topk(0.1)", "qsgd", "block(0.3)", "sign"] {
        let sets =
            |exchange| [format!("compress={compress}"), "feedback=residual".into(), format!("exchange={exchange}")];
        let of = |exchange| neutral(&sets(exchange).iter().map(String::as_str).collect::<Vec<_>>());
        same_bits(&Buffered, &of("star"), &of("gather"), 20);
        same_bits(&Buffered, &of("star(down=topk(1), feedback=residual)"), &of("gather"), 20);
    }
}

#[test]
fn reduce_is_gather_for_every_linear_code() {
    for sets in [&["compress=dense"][..], &["compress=block(0.3)", "feedback=residual"], &["aggregate=weighted"]] {
        let with = |exchange| neutral(&[sets, &[exchange]].concat());
        same_bits(&Buffered, &with("exchange=reduce"), &with("exchange=gather"), 20);
    }
    let with = |exchange| row("sync-sgd", &["optim=adamw(rate=0.05)", exchange]);
    same_bits(&Buffered, &with("exchange=reduce"), &with("exchange=gather"), 20);
}

#[test]
fn two_phases_of_a_dense_vector_are_reduce_bit_for_bit() {
    for sets in [&[][..], &["aggregate=weighted"], &["aggregate=sum(0.5)"], &["payload=parameters", "schedule.every=3"]]
    {
        let with = |exchange| neutral(&[sets, &[exchange]].concat());
        same_bits(&Buffered, &with("exchange=two_phase"), &with("exchange=reduce"), 20);
        same_bits(&Buffered, &with("exchange=two_phase(piece=11)"), &with("exchange=reduce"), 20);
    }
    let with = |exchange| row("sync-sgd", &["optim=adamw(rate=0.05)", exchange]);
    same_bits(&Buffered, &with("exchange=two_phase"), &with("exchange=reduce"), 20);
    for median in ["aggregate=median", "aggregate=trimmed(0.3)", "aggregate=bucketing(2)"] {
        let with = |exchange| neutral(&[median, exchange]);
        same_bits(&Buffered, &with("exchange=two_phase"), &with("exchange=gather"), 20);
    }
}

#[test]
fn two_phases_with_a_dense_way_down_are_gather_where_chunks_end_between_buckets() {
    for compress in ["qsgd(scope=bucket(16))", "orq(scope=bucket(8))", "half", "topk(0.2, scope=bucket(10))"] {
        let compress = format!("compress={compress}");
        let with = |exchange: &str| neutral(&[&compress, "feedback=residual", &format!("exchange={exchange}")]);
        for piece in [1, 40, 1000] {
            let phases = with(&format!("two_phase(down=dense, piece={piece})"));
            same_bits(&Buffered, &phases, &with("gather"), 20);
            // Pieces change nothing where the way down is coded either.
            same_bits(&Buffered, &with(&format!("two_phase(piece={piece})")), &with("two_phase"), 20);
        }
    }
    // The control: a scale of every chunk is not a scale of the model, and what is coded twice is not what is coded once.
    for (a, b) in [("two_phase(down=dense)", "gather"), ("two_phase", "two_phase(down=dense)")] {
        let with = |exchange: &str| neutral(&["compress=sign", "feedback=residual", &format!("exchange={exchange}")]);
        assert!(apart(run(&with(a), &Buffered, 4, 20)[0].last(), run(&with(b), &Buffered, 4, 20)[0].last()) > 1e-3);
    }
}

#[test]
fn outer_momentum_of_nothing_is_plain_averaging() {
    let every = "schedule.every=4";
    same_bits(&Buffered, &neutral(&[every, "outer=momentum(0)"]), &neutral(&[every]), 20);
    same_bits(&Buffered, &neutral(&[every, "outer=momentum(0, nesterov=true, per_rate=true)"]), &neutral(&[every]), 20);
    let (with, without) = (neutral(&[every, "outer=momentum(0.5)"]), neutral(&[every]));
    assert!(apart(run(&with, &Buffered, 4, 20)[0].last(), run(&without, &Buffered, 4, 20)[0].last()) > 1e-2);
}

#[test]
fn parameters_and_displacements_are_the_same_news() {
    for sets in [&["schedule.every=4"][..], &["schedule.every=4", "outer=momentum(0.5)"], &["optim=adamw(rate=0.05)"]] {
        let of = |payload| run(&neutral(&[sets, &[payload]].concat()), &Buffered, 4, 40);
        let (a, b) = (of("payload=parameters"), of("payload=displacement"));
        for (a, b) in a[0].models().iter().zip(b[0].models()) {
            assert!(apart(a, b) < 1e-5, "{sets:?}: {}", apart(a, b));
        }
    }
}

#[test]
fn post_local_before_the_switch_is_every_step_and_after_it_is_constant() {
    let of = |schedule: &str| neutral(&["optim.momentum=0.9", &format!("schedule={schedule}")]);
    same_bits(&Buffered, &of("post_local(switch=1000)"), &of("constant"), 24);
    same_bits(&Buffered, &of("post_local(switch=0.99, every=8)"), &of("constant(1)"), 24);
    same_bits(&Buffered, &of("post_local(switch=0, every=8)"), &of("constant(8)"), 24);
}

#[test]
fn qsr_at_a_large_constant_rate_is_its_base_interval() {
    let of = |schedule: &str| neutral(&["optim.rate=0.2", &format!("schedule={schedule}")]);
    same_bits(&Buffered, &of("qsr(base=3, alpha=0.3)"), &of("constant(3)"), 40);
    // A small rate makes it grow.
    let trial = run(&of("qsr(base=3, alpha=0.9)"), &Buffered, 2, 40);
    assert_eq!(trial[0].rounds.iter().map(|r| r.told.silence).collect::<Vec<_>>(), [3, 20, 17]);
}

#[test]
fn local_sgd_that_meets_at_every_step_is_sync_sgd_but_not_with_adamw() {
    let far = |optim: &str| {
        let local = run(&row("local-sgd", &["schedule.every=1", optim]), &Buffered, 4, 40);
        let sync = run(&row("sync-sgd", &[optim]), &Buffered, 4, 40);
        local[0].models().iter().zip(sync[0].models()).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
    };
    let sgd = far("optim=sgd(momentum=0.9, decay=0.01, rate=0.1)");
    let nesterov = far("optim=sgd(momentum=0.9, nesterov=true, decay=0.01, rate=0.1)");
    let adamw = far("optim=adamw(rate=0.1)");
    assert!(sgd < 1e-5 && nesterov < 1e-5 && adamw > 1e-2, "{sgd} {nesterov} {adamw}");
}

#[test]
fn one_worker_cannot_tell_when_it_meets() {
    for optim in ["optim=sgd(momentum=0.9, decay=0.01)", "optim=adamw(rate=0.1)"] {
        let of = |every| run(&neutral(&[optim, every]), &quadratic(), 1, 40);
        let (often, rarely) = (of("schedule.every=1"), of("schedule.every=8"));
        for (r, round) in rarely[0].rounds.iter().enumerate() {
            assert!(apart(&round.model, often[0].models()[8 * (r + 1)]) < 1e-5);
        }
    }
}

#[test]
fn an_estimate_that_clips_nothing_or_only_tells_norms_trains_the_same_model() {
    let task = sparse(90, 12, Deal::Iid);
    for sets in [&["payload=gradient", "optim.momentum=0.9"][..], &["schedule.every=4"], &["local=scaffold"]] {
        for batch in ["local.batch=7", "local.batch=full"] {
            let of = |estimate| run(&neutral(&[sets, &[batch, estimate]].concat()), &task, 3, 20);
            let plain = of("local.estimate=plain");
            assert_eq!(run(&neutral(&[sets, &[batch]].concat()), &task, 3, 20)[0].last(), plain[0].last());
            for estimate in ["local.estimate=micro_norms(3)", "local.estimate=per_sample(1e6)"] {
                let found = of(estimate);
                assert!(apart(found[0].last(), plain[0].last()) < 1e-5, "{sets:?} {batch} {estimate}");
                let told =
                    found[0].ledger.flows().any(|(link, _)| link.purpose.to_string() == format!("aside:{MICRO_NORMS}"));
                assert_eq!(
                    told,
                    sets[0] == "payload=gradient" && estimate.contains("norms"),
                    "beside raw gradients only"
                );
            }
            let clipped = of("local.estimate=per_sample(0.1)");
            assert!(apart(clipped[0].last(), plain[0].last()) > 1e-2, "{sets:?} {batch}: a near clip changes nothing");
        }
    }
}

#[test]
fn a_problem_that_parts_no_batch_is_refused_by_estimates_that_ask_for_parts() {
    for estimate in ["local.estimate=micro_norms", "local.estimate=per_sample"] {
        let recipe = neutral(&[estimate]);
        let rows = Posed { sizes: vec![3; 4], ..Posed::whole(Arc::new(Quadratics::scattered(4, 8, Noise::None))) };
        let refusal = Trial::new(&recipe, &rows, 2, 5, 4).run().unwrap_err().to_string();
        assert!(refusal.contains("use local.estimate=plain"), "{refusal}");
        // Where rows have no meaning the whole is one row.
        Trial::new(&recipe, &quadratic(), 2, 5, 4).run().unwrap();
    }
}
