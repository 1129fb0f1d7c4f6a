//! `sordino demo`: why talking little matters, in seconds.

use crate::arguments::{Demo, Scale};
use crate::compare::together;
use crate::plans::{self, Planned};
use crate::{Done, request};

/// What is compared. The network, the data, the seed and the batches are the same for all.
const METHODS: [&str; 4] = ["sync-sgd", "qsr", "qsr compress=orq(9) feedback=residual", "celgc"];

/// Trains the same network four ways and shows what each had to say for it.
pub fn demo(arguments: &Demo) -> Done {
    let out = arguments.out.clone().unwrap_or_else(|| plans::fresh("demo"));
    let scale = Scale {
        task: Some("digits-mlp".into()),
        workers: Some(4),
        steps: None,
        epochs: None,
        until: None,
        seed: Some(0),
        seeds: 1,
        sets: Vec::new(),
        data: None,
        eval_every: None,
        checkpoint_every: None,
        out: Some(out.clone()),
        quiet: arguments.quiet,
    };
    let planned: Vec<Planned> =
        METHODS.iter().map(|method| plans::plan(method, &scale, 0)).collect::<anyhow::Result<_>>().map_err(request)?;
    println!("The same network (an MLP on 8x8 handwritten digits), data and seed on four workers, trained four ways:");
    println!("  sync-sgd    gradients averaged at every step, as data-parallel training does");
    println!("  qsr         local SGD that speaks ever less as the learning rate falls");
    println!("  qsr + orq   the same, what it says in 9 levels of 3.2 bits");
    println!("  celgc       local clipped SGD, speaking every 8 steps\n");
    let page = together(planned, &out, arguments.quiet)?;
    println!("\nreport: {}", page.display());
    println!("next:   sordino compare sync-sgd qsr saef --task fashion-cnn");
    Ok(())
}
