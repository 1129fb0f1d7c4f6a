//! `sordino demo`: why talking little matters, in seconds.

use sordino_tasks::Wish;
use sordino_tasks::plans::{self, Planned};

use crate::arguments::Demo;
use crate::compare::together;
use crate::crew::Crew;
use crate::{Done, request};

/// What is compared. The network, the data, the seed and the batches are the same for all.
const METHODS: [(&str, &str); 4] = [
    ("sync-sgd", "sync-sgd"),
    ("qsr", "qsr"),
    ("qsr + orq(9)", "qsr compress=orq(9) feedback=residual"),
    ("celgc", "celgc"),
];

/// Trains the same network four ways and shows what each had to say for it.
pub fn demo(arguments: &Demo, crew: &Crew) -> Done {
    let out = arguments.out.clone().unwrap_or_else(|| plans::fresh("demo"));
    let wish = Wish { task: Some("digits-mlp".into()), workers: Some(4), ..crew.wish(Wish::default()) };
    let planned: Vec<Planned> = METHODS
        .iter()
        .map(|(label, method)| plans::plan(method, &wish, 0).map(|p| Planned { label: (*label).to_owned(), ..p }))
        .collect::<anyhow::Result<_>>()
        .map_err(request)?;
    for (label, _) in METHODS {
        plans::vacant(&out.join(format!("{}-seed0", plans::folder_name(label)))).map_err(request)?;
    }
    say!("The same network (an MLP on 8x8 handwritten digits), data and seed on four workers, trained four ways:");
    say!("  sync-sgd       gradients averaged at every step, as data-parallel training does");
    say!("  qsr            local SGD that speaks ever less as the learning rate falls");
    say!("  qsr + orq(9)   the same, saying it in 9 levels of 3.2 bits; what was left out is kept for later");
    say!("  celgc          local clipped SGD, speaking every 8 steps\n");
    let page = together(planned, &out, arguments.quiet, crew)?;
    say!("\nreport: {}", page.display());
    // Whoever came by way of cargo has no `sordino` on the path.
    let by_cargo = std::env::current_exe().is_ok_and(|p| p.components().any(|c| c.as_os_str() == "target"));
    let program = if by_cargo { "cargo run --release --" } else { "sordino" };
    say!("next:   {program} compare sync-sgd qsr saef --task digits-cnn");
    Ok(())
}
