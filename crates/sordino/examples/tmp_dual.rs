//! Scratch.
use sordino::engine::Gap;
use sordino::recipe::{Defaults, Recipe, check};
use sordino::testing::Trial;
use sordino::workload::{Deal, Made, Ridge};
use std::sync::Arc;
fn gaps(recipe: &Recipe, task: &Ridge, ranks: usize, steps: u64) -> Vec<f64> {
    let all = Trial::new(recipe, task, ranks, 4, steps).with(
        |p| Box::new(p),
        |mut s, mut w| {
            let mut parts = Vec::new();
            while !s.done() {
                s.round(&mut *w, 0)?;
                let m = s.evaluated(&mut *w)?.parameters;
                parts.extend(s.certificate(&mut *w, &m)?);
            }
            Ok(parts)
        },
    );
    let Ok(all) = all else { return vec![f64::NAN] };
    (0..all[0].len()).map(|at| Gap::whole(all.iter().map(|p| p[at]))).collect()
}
fn main() {
    let cases: &[(usize, usize, usize, usize, f64, u64, u64)] = &[
        // rows features nnz K l2 H rounds
        (120, 40, 6, 8, 1e-2, 15, 100),
        (120, 40, 6, 8, 1e-3, 15, 100),
        (120, 40, 6, 8, 1e-1, 15, 100),
        (400, 200, 10, 4, 1e-2, 200, 60),
        (400, 200, 10, 4, 1e-2, 100, 60),
        (400, 200, 10, 8, 1e-3, 100, 60),
        (400, 20, 10, 8, 1e-3, 200, 60),
        (4000, 2000, 10, 8, 1e-4, 500, 60),
        (4000, 2000, 10, 8, 1e-3, 500, 60),
    ];
    for &(rows, features, nonzeros, k, l2, h, rounds) in cases {
        let made = Made { rows, features, nonzeros, noise: 0.3, signs: true, seed: 8 };
        let task = Ridge {
            name: "r".into(),
            train: Arc::new(made.make().unwrap()),
            test: None,
            features,
            deal: Deal::Iid,
            l2,
            data: 0,
        };
        println!("rows {rows} d {features} nnz {nonzeros} K {k} l2 {l2} H {h}");
        for (name, sets) in [
            ("cocoa", vec![]),
            ("cocoa-plus", vec![]),
            ("cocoa-plus", vec!["local.curvature=code"]),
            ("cocoa-plus", vec!["aggregate.gamma=0.5"]),
            (
                "cocoa-plus",
                vec!["aggregate.gamma=0.5", "compress=topk(0.1)", "feedback=residual(lambda=auto)", "exchange=gather"],
            ),
            ("cocoa-plus", vec!["compress=topk(0.1)", "feedback=residual(lambda=auto)", "exchange=gather"]),
            ("cocoa-plus", vec!["compress=topk(0.1)", "feedback=residual(lambda=0)", "exchange=gather"]),
            ("cocoa-plus", vec!["compress=topk(0.1)", "feedback=residual(lambda=1)", "exchange=gather"]),
            ("cocoa-plus", vec!["compress=topk(0.02)", "feedback=residual(lambda=auto)", "exchange=gather"]),
            ("cocoa-plus", vec!["compress=topk(0.02)", "feedback=residual(lambda=0)", "exchange=gather"]),
        ] {
            let mut r = Recipe::named(name).unwrap();
            r.set(&format!("schedule=constant({h})")).unwrap();
            for s in &sets {
                r.set(s).unwrap();
            }
            r.resolve(&Defaults::default()).unwrap();
            check(&r).unwrap();
            let g = gaps(&r, &task, k, h * rounds);
            let pick: Vec<String> =
                [1, 5, 10, 20, 30, 60, 100].iter().filter_map(|i| g.get(i - 1)).map(|v| format!("{v:.2e}")).collect();
            println!("  {name} {:60} {}", sets.join(" "), pick.join(" "));
        }
    }
}
