//! Rows and workers.

use sordino::recipe::Recipe;
use sordino::testing::Trial;
use std::sync::Arc;

use sordino::workload::Deal;

use super::run;
use crate::worlds::{apart, neutral, row, sparse};

fn farthest(task: &sordino::workload::Logistic, one: &Recipe, other: &Recipe, workers: [usize; 2], steps: u64) -> f64 {
    let (a, b) = (run(one, task, workers[0], steps), run(other, task, workers[1], steps));
    a[0].models().iter().zip(b[0].models()).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
}

#[test]
fn one_two_and_four_workers_with_the_same_large_batch_agree_to_rounding() {
    let task = sparse(200, 24, Deal::Iid);
    for optim in ["optim=sgd(momentum=0.9, decay=0.001, rate=0.3)", "optim=adamw(rate=0.05)"] {
        let with = |batch: &str| row("sync-sgd", &[optim, &format!("local.batch={batch}")]);
        let one = with("16");
        assert!(farthest(&task, &one, &with("8"), [1, 2], 60) < 2e-5);
        assert!(farthest(&task, &one, &with("4"), [1, 4], 60) < 2e-5);
        // The control: the same batch a worker is a larger batch in all.
        assert!(farthest(&task, &one, &one, [1, 2], 60) > 1e-3);
    }
}

#[test]
fn full_batches_make_the_gradient_of_all_rows_where_shards_are_equal() {
    let task = sparse(200, 24, Deal::Iid);
    let full = row("sync-sgd", &["optim.rate=0.5", "local.batch=full"]);
    assert!(farthest(&task, &full, &full, [1, 4], 40) < 2e-5);
}

#[test]
fn weights_undo_unequal_shards_and_the_plain_mean_does_not() {
    let shards = vec![(0..20).collect(), (20..140).collect(), (140..150).collect(), (150..200).collect()];
    let (whole, cut) = (sparse(200, 24, Deal::Iid), sparse(200, 24, Deal::Shards(Arc::new(shards))));
    let full = ["optim.rate=0.5", "local.batch=full"];
    let one = Trial::new(&neutral(&full), &whole, 1, 5, 40).run().unwrap();
    let far = |sets: &[&str]| {
        let ranks = run(&neutral(&[&full[..], sets].concat()), &cut, 4, 40);
        ranks[3].models().iter().zip(one[0].models()).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
    };
    for exchange in ["exchange=gather", "exchange=reduce", "exchange=star"] {
        assert!(far(&["aggregate=weighted", exchange]) < 2e-5);
        assert!(far(&["aggregate=mean", exchange]) > 1e-3);
    }
}
