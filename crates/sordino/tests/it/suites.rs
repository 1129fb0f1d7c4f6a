//! The suites over the registries: every element as it comes, and settings worth a look.

use std::sync::Arc;

use sordino::Result;
use sordino::aggregate::{Aggregator, Gathering, Mean};
use sordino::grammar::Element;
use sordino::testing;
use sordino::workload::{Deal, Logistic, Polynomial, Quadratic, Ridge, SparseRows, Task};
use sordino::{aggregate, estimate, feedback, optim, schedule};

fn element(text: &str) -> Element {
    Element::parse(text).unwrap()
}

#[test]
fn every_aggregator_keeps_its_contract() {
    let set = [
        "bucketing(3, then=geometric)",
        "bucketing(2, then=centered_clip(1))",
        "bucketing(2, then=krum(liars=1, best=2))",
        "bucketing(1, then=weighted)",
        "bucketing(5, then=sum(0.5))",
        "sum(0.25)",
        "centered_clip(0.1, iterations=1)",
        "centered_clip(10)",
        "geometric(1)",
        "geometric(60, eps=0.1)",
        "krum(liars=0, best=3)",
        "krum(liars=2, best=4)",
        "trimmed(0.4)",
        "trimmed(0)",
    ];
    for text in aggregate::ENTRIES.iter().map(|e| e.name).chain(set) {
        testing::aggregate::suite(&|| aggregate::build(&element(text)).unwrap());
    }
}

/// The mean, saying of itself what the median may say.
#[derive(Default)]
struct Boastful(Mean);

impl Aggregator for Boastful {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.0.begin(gathering)
    }

    fn add(&mut self, vector: &[f32], weight: f32) {
        self.0.add(vector, weight);
    }

    fn finish(&mut self, out: &mut [f32]) {
        self.0.finish(out);
    }

    fn withstands(&self, workers: usize) -> usize {
        workers.saturating_sub(1) / 2
    }
}

#[test]
#[should_panic(expected = "1 liars of 3 at 1e6 together moved it by")]
fn a_mean_that_boasts_of_withstanding_liars_is_found_out() {
    testing::aggregate::suite(&|| Box::new(Boastful::default()));
}

#[test]
fn every_schedule_keeps_its_contract() {
    // `auto` is resolved by a recipe before a schedule is built.
    let with_rate = |name: &str| matches!(name, "qsr" | "power");
    let plain = schedule::ENTRIES.iter().filter(|e| !with_rate(e.name)).map(|e| e.name.to_owned());
    let set =
        ["constant(7)", "growing(3)", "post_local(10, 4)", "post_local(0.3, 9)", "qsr(4, alpha=1)", "qsr(2, alpha=0)"];
    let set = set.into_iter().chain(["power(1, alpha=5, exponent=3)", "power(8, alpha=0.1)"]).map(str::to_owned);
    for text in plain.chain(set) {
        testing::schedule::suite(&|| schedule::build(&element(&text)).unwrap());
    }
}

#[test]
fn every_feedback_keeps_its_contract() {
    let plain = feedback::ENTRIES.iter().map(|e| e.name);
    for text in plain.chain([
        "residual(1)",
        "residual(lambda=auto)",
        "residual(0.3, every=3)",
        "residual(1, every=1, evaluate=mean)",
    ]) {
        testing::feedback::suite(&|| feedback::build(&element(text)).unwrap());
    }
}

#[test]
fn every_optimizer_and_outer_step_keeps_its_contract() {
    // `auto` is resolved by a recipe before an optimizer is built.
    let plain = optim::ENTRIES.iter().filter(|e| e.name != "sgd");
    let plain = plain.map(|e| format!("{}(rate=0.1, schedule=constant)", e.name));
    let set = [
        "sgd(rate=0.1, momentum=0, schedule=constant)",
        "sgd(rate=0.1, momentum=0.9, nesterov=true, decay=0.01, clip=0.2, schedule=cosine)",
        "sgd(rate=0.1, momentum=0.9, max_norm=1, schedule=constant)",
        "sgd(rate=0.1, momentum=0.9, prox=l1(0.5, low=-1, high=1), schedule=constant)",
        "sgd(rate=0.1, momentum=0, prox=group(2, size=4), schedule=cosine)",
        "adam(rate=0.1, decay=0.1, schedule=linear)",
        "adamw(rate=0.1, clip=1, schedule=constant)",
        "lars(rate=0.1, momentum=0, decay=0.1, clip=1, max_norm=1, schedule=constant)",
        "clars(rate=0.1, decay=0.1, cap=0.01, schedule=cosine)",
        "lamb(rate=0.1, clip=1, max_norm=1, schedule=constant)",
        "mixclip(rate=0.1, nu=0, gamma=0.1, schedule=constant)",
        "mixclip(rate=0.1, nu=1, beta=0.9, gamma=0.3, form=hard, decay=0.1, schedule=linear)",
    ];
    for text in plain.chain(set.into_iter().map(str::to_owned)) {
        testing::optim::suite(&|| optim::build(&element(&text)).unwrap().chain);
    }
    for entry in optim::OUTER {
        testing::optim::suite(&|| optim::build_outer(&element(entry.name)).unwrap());
    }
    for text in
        ["momentum(0.5, per_rate=true)", "momentum(0.9, nesterov=true, rate=0.7)", "fedyogi(0.1, beta1=0, tau=0.1)"]
    {
        testing::optim::suite(&|| optim::build_outer(&element(text)).unwrap());
    }
}

#[test]
fn every_workload_keeps_its_contract() {
    let rows = SparseRows {
        offsets: (0..=40).map(|i| 3 * i).collect(),
        columns: (0..120).map(|i| (i % 3) * 2 + (i / 7) % 2).collect(),
        values: (0..120u8).map(|i| f32::from(i % 11) / 5.0 - 1.0).collect(),
        labels: (0..40).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect(),
    };
    let train = Arc::new(rows);
    let ridge = Ridge {
        name: "ridge".into(),
        train: Arc::clone(&train),
        test: None,
        features: 6,
        deal: Deal::Iid,
        l2: 0.1,
        data: 0,
    };
    let logistic = Logistic {
        name: "logistic".into(),
        train,
        test: None,
        features: 6,
        deal: Deal::Iid,
        l2: 0.1,
        nonconvex: 0.05,
        data: 0,
    };
    let tasks: [&dyn Task; 4] = [
        &Quadratic { noise: 0.0, skew: 0.4, ..Quadratic::default() },
        &logistic,
        &ridge,
        &Polynomial { dim: 4, spread: 1.0, noise: 0.0, start: 2.0 },
    ];
    for task in tasks {
        testing::workload::suite(&|| task.workload(3, 0).unwrap(), 0.01);
        // Far clips: a clipped gradient is that of no loss, and the suite compares the two.
        for text in ["plain", "micro_norms(2)", "micro_norms(rows=1)", "per_sample(1e6)", "coosge"] {
            let estimate = estimate::build(&element(text)).unwrap();
            testing::workload::suite(&|| estimate.wrap(task.workload(3, 0).unwrap()), 0.01);
        }
    }
}
