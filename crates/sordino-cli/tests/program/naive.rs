//! Logistic regression held against a naive computation of the documented formula, written here from the formula.

use std::fmt::Write as _;

use super::{Scratch, bytes, prints, words};

const FEATURES: usize = 6;

/// A small problem: rows and 0/1 labels from a fixed formula.
fn rows() -> Vec<(f64, Vec<f64>)> {
    (0..26u32)
        .map(|i| {
            let row: Vec<f64> =
                (0..FEATURES as u32).map(|j| f64::from((7 * i + 5 * j + i * j) % 11) / 8.0 - 0.5).collect();
            let label = if (3 * i + 1) % 5 < 2 { 0.0 } else { 1.0 };
            (label, row)
        })
        .collect()
}

fn file() -> String {
    let mut text = String::new();
    for (label, row) in rows() {
        write!(text, "{label}").unwrap();
        for (j, v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
            write!(text, " {}:{v}", j + 1).unwrap();
        }
        text.push('\n');
    }
    text
}

fn gradient(rows: &[(f64, Vec<f64>)], x: &[f64], l2: f64) -> Vec<f64> {
    let mut g: Vec<f64> = x.iter().map(|v| l2 * v).collect();
    for (label, a) in rows {
        let y = 2.0 * label - 1.0;
        let margin: f64 = y * a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
        for (g, a) in g.iter_mut().zip(a) {
            *g -= y * a / (1.0 + margin.exp()) / rows.len() as f64;
        }
    }
    g
}

fn clip(v: &[f64], tau: f64) -> Vec<f64> {
    let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let factor = if norm > tau { tau / norm } else { 1.0 };
    v.iter().map(|v| v * factor).collect()
}

/// Shards in file order: the first `26 mod workers` get one more.
fn shards(workers: usize) -> Vec<Vec<(f64, Vec<f64>)>> {
    let (all, mut at) = (rows(), 0);
    (0..workers)
        .map(|w| {
            let n = all.len() / workers + usize::from(w < all.len() % workers);
            at += n;
            all[at - n..at].to_vec()
        })
        .collect()
}

/// The parameters in a model file: the only tensor.
fn parameters(folder: &str) -> Vec<f64> {
    let file = bytes(folder, "model.safetensors");
    file[file.len() - 4 * FEATURES..]
        .chunks(4)
        .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .collect()
}

#[test]
fn full_gradients_on_contiguous_shards_follow_the_formula() {
    let scratch = Scratch::new("naive");
    let data = scratch.at("data.libsvm");
    std::fs::write(&data, file()).unwrap();
    let common = format!(
        "--task logistic --data {data} --workers 4 --steps 60 --set task.l2=0.1 --set local.batch=full \
         --set partition=contiguous --set optim.rate=0.5 --quiet"
    );
    let (l2, rate, tau, shards) = (0.1, 0.5, 0.2, shards(4));
    let mean = |vectors: &[Vec<f64>]| -> Vec<f64> {
        (0..FEATURES).map(|j| vectors.iter().map(|v| v[j]).sum::<f64>() / vectors.len() as f64).collect()
    };

    // Plain gradient descent, clipped gradient descent, Clip21, local SGD with five steps.
    let mut plain = vec![0.0; FEATURES];
    let mut clipped = plain.clone();
    let (mut clip21, mut shifts) = (plain.clone(), vec![plain.clone(); 4]);
    let mut local = plain.clone();
    for _ in 0..60 {
        let step = |x: &mut Vec<f64>, g: &[f64]| x.iter_mut().zip(g).for_each(|(x, g)| *x -= rate * g);
        let at = |x: &[f64]| shards.iter().map(|s| gradient(s, x, l2)).collect::<Vec<_>>();
        let g = mean(&at(&plain));
        step(&mut plain, &g);
        let g = mean(&at(&clipped).iter().map(|g| clip(g, tau)).collect::<Vec<_>>());
        step(&mut clipped, &g);
        for (shift, g) in shifts.iter_mut().zip(at(&clip21)) {
            let gap: Vec<f64> = g.iter().zip(&*shift).map(|(g, v)| g - v).collect();
            shift.iter_mut().zip(clip(&gap, tau)).for_each(|(v, c)| *v += c);
        }
        let g = mean(&shifts);
        step(&mut clip21, &g);
    }
    for _ in 0..12 {
        let ends: Vec<Vec<f64>> = shards
            .iter()
            .map(|s| {
                let mut x = local.clone();
                for _ in 0..5 {
                    let g = gradient(s, &x, l2);
                    x.iter_mut().zip(g).for_each(|(x, g)| *x -= rate * g);
                }
                x
            })
            .collect();
        local = mean(&ends);
    }
    for (run, expected) in [
        ("sync-sgd", &plain),
        ("clip-gd --set compress.clip=0.2", &clipped),
        ("clip21 --set compress.clip=0.2", &clip21),
        ("local-sgd --set schedule.every=5", &local),
    ] {
        let out = scratch.at(&run[..6]);
        prints(&words(&format!("run {run} {common} --out {out}")));
        for (x, y) in parameters(&out).iter().zip(expected) {
            assert!((x - y).abs() < 2e-6 * (1.0 + y.abs()), "{run}: {x} {y}");
        }
    }
    // The control: another threshold is another trajectory.
    assert!(clipped.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3));
}
