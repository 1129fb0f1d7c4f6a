//! The laws that tie the elements to one another.

mod caller;
mod data;
mod dealt;
mod federated;
mod hosts;
mod identities;
mod late;
mod low_rank;
mod mixes;
mod pipelines;
mod private;
mod resume;
mod sameness;
mod served;
mod wire;

use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};
use sordino::workload::Task;

use crate::worlds::{in_rounds, neutral, row};

/// The run of `recipe`, to its end.
fn run(recipe: &Recipe, task: &dyn Task, workers: usize, steps: u64) -> Vec<Rank> {
    Trial::new(recipe, task, workers, 5, steps).run().unwrap()
}

/// Asserts that two recipes draw the same trajectory, bit for bit (a zero may lose its sign).
fn same_bits(task: &dyn Task, a: &Recipe, b: &Recipe, steps: u64) {
    let (left, right) = (run(a, task, 4, steps), run(b, task, 4, steps));
    for (a, b) in left[0].models().iter().zip(right[0].models()) {
        assert_eq!(*a, b);
    }
    assert_eq!(left[0].rounds.len(), right[0].rounds.len());
    assert_ne!(left[0].start, left[0].last(), "nothing moved");
}

/// Mixes whose words are late.
const LATE: &[&[&str]] = &[
    &[
        "staleness=delayed(2)",
        "schedule.every=5",
        "optim=sgd(momentum=0.9)",
        "compress=topk(0.1)",
        "feedback=residual(lambda=0.5, every=2)",
        "outer=momentum(0.5)",
    ],
    &[
        "payload=displacement(fragments=2)",
        "feedback=residual(lambda=1)",
        "compress=qsgd",
        "staleness=delayed(2)",
        "schedule.every=3",
        "outer=momentum(0.9, nesterov=true, rate=0.7)",
        "exchange=gather",
    ],
    &["staleness=delayed(3)", "schedule.every=4", "compress=sign", "feedback=residual", "exchange=two_phase(piece=30)"],
    &["staleness=delayed(2)", "schedule.every=3", "compress=half", "exchange=gather(piece=50)"],
    &["staleness=delayed(2)", "schedule.every=3", "exchange=reduce(piece=7)"],
    &["staleness=delayed(3)", "schedule=growing", "payload=parameters", "exchange=reduce", "optim=adamw"],
    &["staleness=delayed(9)", "schedule.every=2", "aggregate=weighted", "compress=qsgd", "exchange=star"],
    &[
        "staleness=delayed(2)",
        "schedule.every=3",
        "compress=powersgd(1)",
        "feedback=residual",
        "exchange=reduce",
        "optim=sgd(momentum=0.9)",
        "local.state=average",
    ],
    &["staleness=delayed", "payload=gradient", "optim=adamw", "compress=topk(0.1)", "feedback=ef21"],
    &["staleness=delayed", "payload=gradient", "optim=clars", "local=descent(estimate=micro_norms)", "exchange=reduce"],
];

/// Every named row that runs in rounds, and mixes of axes that no row has: name and recipe.
fn rows_and_mixes() -> Vec<(String, Recipe)> {
    let mixes: &[&[&str]] = &[
        &["optim=adamw", "schedule.every=3", "local.state=average"],
        &["optim=sgd(momentum=0.9)", "schedule.every=3", "local.state=average", "compress=sign", "feedback=residual"],
        &["optim=sgd(momentum=0.9)", "schedule.every=2", "local.state=reset", "outer=adam"],
        &[
            "compress=topk(0.1)",
            "feedback=residual(lambda=1, every=3)",
            "exchange=star(down=topk(0.2), feedback=residual)",
        ],
        &["payload=gradient", "compress=topk(0.1)", "feedback=ef21", "exchange=star(down=topk(0.2), feedback=ef21)"],
        &["aggregate=weighted", "compress=qsgd", "exchange=gather(piece=70)"],
        &["aggregate=weighted", "compress=block(0.25)", "feedback=residual(lambda=0.5)", "exchange=reduce"],
        &["schedule.every=2", "compress=powersgd(1, clip=0.5)", "feedback=residual(lambda=0.5)", "exchange=reduce"],
        &["compress=powersgd(1)", "feedback=residual", "exchange=star(down=powersgd(1), feedback=residual)"],
        &["local=descent(batch=2, estimate=saga(of=plain))", "schedule.every=3", "optim=sgd(prox=group(0.1, 4))"],
        &["local=descent(batch=2, estimate=svrg(of=plain, every=4))", "schedule.every=3", "compress=span(2)"],
        &["buffers=reestimate(3)", "schedule=growing", "optim=sgd(schedule=cosine(warmup=4))"],
        &["compress=randk(0.2)", "feedback=residual", "buffers=root", "schedule=power(base=2, exponent=1)"],
        &["payload=parameters", "outer=momentum(0.5, nesterov=true)", "compress=half", "schedule.every=2"],
        &["optim=sgd(momentum=0.9, nesterov=true, max_norm=0.5, decay=0.01)", "compress=natural", "buffers=local"],
        &[
            "optim=sgd(momentum=0.9)",
            "participation=sampled(3, clients=8)",
            "exchange=star",
            "compress=topk(0.1)",
            "feedback=residual(lambda=0.5)",
            "schedule.every=3",
            "outer=momentum(0.5)",
        ],
        &["participation=poisson(2, clients=6)", "exchange=star", "optim=adamw", "compress=qsgd", "schedule.every=2"],
        &[
            "participation=sampled(2, clients=5)",
            "exchange=star",
            "payload=gradient",
            "compress=topk(0.2)",
            "feedback=ef21",
        ],
        &[
            "local=dual",
            "aggregate=sum(0.5)",
            "compress=topk(0.2)",
            "feedback=residual(lambda=auto)",
            "exchange=star(down=topk(0.3), feedback=residual)",
            "schedule.every=4",
        ],
        &["local=dual", "aggregate=sum", "participation=sampled(2, clients=5)", "exchange=star", "schedule.every=5"],
        &["aggregate=sum(0.25)", "compress=powersgd(1)", "feedback=residual", "exchange=reduce(piece=10)"],
        &["compress=sign", "feedback=residual(lambda=0.5)", "exchange=two_phase"],
        &["payload=gradient", "compress=topk(0.1)", "feedback=ef21", "exchange=two_phase"],
        &["aggregate=median", "compress=qsgd(scope=bucket(20))", "exchange=two_phase(piece=30)"],
        &["aggregate=weighted", "compress=half", "feedback=residual", "exchange=two_phase(down=terngrad, piece=9)"],
    ];
    // Rows as a run would meet them: momentum where the row leaves it open, a rate that anneals for the rule that needs it.
    let of = |name: &'static str| -> &'static [&'static str] {
        match name {
            "qsr" => &["optim.schedule=cosine(warmup=5)", "optim.momentum=0.9", "schedule.base=2"],
            "post-local-sgd" => &["schedule.every=4", "optim.momentum=0.9"],
            "local-sgd" | "sync-sgd" | "def" | "ef-sgd" | "saef" | "slowmo" | "fedmom" | "qsgd" | "orq" => {
                &["optim.momentum=0.9"]
            }
            "diloco" => &["schedule.every=8"],
            "cocoa" | "cocoa-plus" => &["schedule=constant(4)"],
            // Of the matrix here, two rows, only rank 1 is shorter.
            "powersgd" => &["compress.rank=1", "optim.momentum=0.9"],
            // What noise hides must not be told by buffers.
            "dp-clip21" => &["buffers=local"],
            "fedavg" => &["participation.clients=9", "participation.count=4"],
            "scaffold" => &["participation.clients=7", "participation.count=3"],
            // Rates for gradients, over d.
            "zo-proxsaga" => &["optim.rate=0.001", "local.batch=3", "optim.prox=l1(0.1)"],
            "zo-proxsvrg" => &["optim.rate=0.001", "local.batch=3", "optim.prox=l1(0.1, low=-2, high=2)"],
            "zo-proxsgd" | "zo-seeded" => &["optim.rate=0.001"],
            "dp-fedavg" => &["participation.clients=6", "participation.expected=1.5"],
            _ => &[],
        }
    };
    let rows = in_rounds().map(|r| (r.name.to_owned(), row(r.name, of(r.name))));
    rows.chain(mixes.iter().chain(LATE).map(|sets| (sets.join(" "), neutral(sets)))).collect()
}
