//! Stopped anywhere, resumed, the run ends with the same bits as one that never stopped.

use std::path::Path;
use std::process::Stdio;

use super::{Scratch, bytes, command, prints, refused, summary, words};

/// Methods with something to remember of every kind.
const RUNS: [&str; 9] = [
    "qsr --set compress=orq(9) --set feedback=residual",
    "saef --set optim.momentum=0.9",
    "diloco --set schedule.every=4",
    "ef21 --set local.batch=16",
    "slowmo --set local.state=average --set aggregate=weighted",
    "scaffold --set partition=dirichlet(0.3) --set participation.count=4",
    "dp-fedavg --set privacy.seed=1 --set participation.expected=5",
    "dsp --set schedule.every=2 --set compress=topk(0.1) --set feedback=residual",
    "ouroboros --set task.dropout=0.1",
];

/// Waits until the record has a line of at least that round, then kills without warning.
fn killed_after(round: u64, arguments: &[&str], out: &str) {
    let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let record = Path::new(out).join("record.jsonl");
    loop {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let last = text.lines().rev().find_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        if last.is_some_and(|p| p["round"].as_u64() >= Some(round)) {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_and_resumed_ends_with_the_same_bits() {
    let scratch = Scratch::new("killed");
    for (i, run) in RUNS.iter().enumerate() {
        let (whole, broken) = (scratch.at(&format!("whole-{i}")), scratch.at(&format!("broken-{i}")));
        let line = |out: &str| {
            format!("run {run} --task digits-mlp --steps 400 --checkpoint-every 3 --eval-every 1 --quiet --out {out}")
        };
        prints(&words(&line(&whole)));
        killed_after(4, &words(&line(&broken)), &broken);
        assert!(!Path::new(&broken).join("summary.json").exists());
        prints(&words(&format!("run --resume {broken} --quiet")));
        assert_eq!(bytes(&whole, "model.safetensors"), bytes(&broken, "model.safetensors"), "{run}");
        let (a, b) = (summary(&whole), summary(&broken));
        for key in ["train_loss", "accuracy", "rounds", "steps", "bytes_sent_per_worker", "bytes_received_per_worker"] {
            assert_eq!(a[key], b[key], "{run}: {key}");
        }
        // Resumed once more, at its end, it stays as it is.
        prints(&words(&format!("run --resume {broken} --quiet")));
        assert_eq!(
            bytes(&whole, "model.safetensors"),
            bytes(&broken, "model.safetensors"),
            "{run}, resumed at its end"
        );
        let lines = |out: &str| String::from_utf8(bytes(out, "record.jsonl")).unwrap().lines().count();
        assert_eq!(lines(&whole), lines(&broken), "{run}: the record");
    }
}

#[test]
fn interrupted_once_it_saves_reports_and_can_go_on() {
    let scratch = Scratch::new("interrupted");
    let (whole, broken) = (scratch.at("whole"), scratch.at("broken"));
    let line = |out: &str| format!("run celgc --task digits-mlp --steps 4000 --eval-every 1 --quiet --out {out}");
    prints(&words(&line(&whole)));
    let mut child = command(&words(&line(&broken))).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while !Path::new(&broken).join("checkpoint/latest").exists() {
        std::thread::yield_now();
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert!(child.wait().unwrap().success());
    let first = summary(&broken)["steps"].as_u64().unwrap();
    assert!(first < 4000, "it went on to the end: {first}");
    assert!(Path::new(&broken).join("report.html").exists());
    prints(&words(&format!("run --resume {broken} --quiet")));
    assert_eq!(summary(&broken)["steps"].as_u64(), Some(4000));
    assert_eq!(bytes(&whole, "model.safetensors"), bytes(&broken, "model.safetensors"));
}

#[test]
fn other_choices_are_refused_by_name() {
    let scratch = Scratch::new("changed");
    let out = scratch.at("run");
    prints(&words(&format!("run qsr --task quadratic --steps 20 --out {out}")));
    for (change, hint) in [
        ("--set schedule.base=8", "schedule"),
        ("--seed 9", "--seed"),
        ("--task digits-mlp", "task"),
        ("--steps 99", "--steps"),
    ] {
        let (status, said) = refused(&words(&format!("run --resume {out} {change}")));
        assert_eq!(status, 2, "{change}: {said}");
        assert!(said.contains(hint), "{change}: {said}");
    }
    let (status, said) = refused(&words(&format!("run celgc --resume {out}")));
    assert!(status == 2 && said.contains("method"), "{said}");
}

/// A copy of a run's folder.
fn copied(from: &str, to: &str) {
    assert!(std::process::Command::new("cp").args(["-r", from, to]).status().unwrap().success());
}

/// All bytes of training that a run's ledger has.
fn moved(out: &str) -> u64 {
    let flows = summary(out)["flows"].as_array().unwrap().clone();
    let training = flows.iter().filter(|f| !["evaluate", "control"].contains(&f["purpose"].as_str().unwrap()));
    training.map(|f| f["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn killed_with_four_workers_it_goes_on_with_two_and_with_six() {
    let scratch = Scratch::new("regrouped");
    for (i, run) in
        ["qsr --set compress=topk(0.05) --set feedback=residual", "saef --set optim.momentum=0.9"].iter().enumerate()
    {
        let (whole, broken) = (scratch.at(&format!("whole-{i}")), scratch.at(&format!("broken-{i}")));
        let line = |out: &str| {
            format!("run {run} --task digits-mlp --steps 400 --checkpoint-every 3 --eval-every 1 --quiet --out {out}")
        };
        prints(&words(&line(&whole)));
        killed_after(4, &words(&line(&broken)), &broken);
        for workers in [2, 6] {
            let (one, two) = (scratch.at(&format!("one-{i}-{workers}")), scratch.at(&format!("two-{i}-{workers}")));
            copied(&broken, &one);
            let said = prints(&words(&format!("run --resume {one} --workers {workers} --quiet")));
            assert!(
                said.contains("with 4 workers up to step") && said.contains(&format!("then with {workers}")),
                "{said}"
            );
            let (all, now) = (summary(&whole), summary(&one));
            assert_eq!((&now["workers"], &now["steps"]), (&workers.into(), &all["steps"]), "{run}");
            let before = &now["workers_before"][0];
            assert_eq!(before["workers"], 4, "{run}");
            let loss = |s: &serde_json::Value| s["train_loss"].as_f64().unwrap();
            assert!(loss(&now) < 2.0 * loss(&all) + 0.05, "{run}: {} {}", loss(&now), loss(&all));
            // Rows looked at: as many as four saw before and the others since.
            let (then, steps) = (before["steps"].as_u64().unwrap() as f64, all["steps"].as_f64().unwrap());
            let seen = (4.0 * then + f64::from(workers) * (steps - then)) / (4.0 * steps);
            assert!((now["epochs"].as_f64().unwrap() / all["epochs"].as_f64().unwrap() - seen).abs() < 1e-9, "{run}");
            assert!(text(&one, "recipe.toml").contains(&format!("\nworkers = {workers}\n")), "{run}");
            // Killed once more it goes on without being told, to the same bits; at its end it stays.
            copied(&broken, &two);
            killed_after(
                then_round(&two) + 3,
                &words(&format!("run --resume {two} --workers {workers} --quiet")),
                &two,
            );
            prints(&words(&format!("run --resume {two} --quiet")));
            assert_eq!(bytes(&one, "model.safetensors"), bytes(&two, "model.safetensors"), "{run}, {workers} workers");
            assert_eq!((moved(&one), &summary(&two)["workers_before"]), (moved(&two), &now["workers_before"]), "{run}");
            prints(&words(&format!("run --resume {two} --quiet")));
            assert_eq!(bytes(&one, "model.safetensors"), bytes(&two, "model.safetensors"), "{run}, at its end");
            assert_eq!(moved(&one), moved(&two), "{run}, at its end");
        }
    }
}

fn text(folder: &str, file: &str) -> String {
    String::from_utf8(bytes(folder, file)).unwrap()
}

/// The round after which a run's checkpoint was made.
fn then_round(out: &str) -> u64 {
    let latest = text(out, "checkpoint/latest");
    latest.trim().trim_start_matches("round-").trim_end_matches("-again").parse().unwrap()
}

#[test]
fn federated_clients_do_not_notice_who_plays_them() {
    let scratch = Scratch::new("replayed-by-others");
    let run = "run scaffold --set partition=dirichlet(0.3) --set participation.count=4 --task digits-mlp";
    let line = |out: &str| format!("{run} --steps 400 --checkpoint-every 3 --eval-every 1 --quiet --out {out}");
    let (whole, broken) = (scratch.at("whole"), scratch.at("broken"));
    prints(&words(&line(&whole)));
    killed_after(4, &words(&line(&broken)), &broken);
    prints(&words(&format!("run --resume {broken} --workers 3 --quiet")));
    assert_eq!(bytes(&whole, "model.safetensors"), bytes(&broken, "model.safetensors"));
    let (a, b) = (summary(&whole), summary(&broken));
    for key in
        ["train_loss", "epochs", "bytes_sent_per_worker", "bytes_received_per_worker", "bytes_sync_fp32_per_worker"]
    {
        assert_eq!(a[key], b[key], "{key}");
    }
    assert_eq!(moved(&whole), moved(&broken));
}

#[test]
fn what_belongs_to_its_workers_is_refused_by_name_and_goes_on_with_them() {
    let scratch = Scratch::new("undealt");
    for (i, (run, workers, what)) in [
        ("local-sgd --set local.estimate=svrg --task mushrooms-logistic", 3, "`local.estimate=svrg`"),
        ("acpd --task mushrooms-ridge", 3, "`participation=first_b"),
        ("dsp --workers 2 --task digits-mlp", 4, "`placement=pipeline`"),
        ("dsp --workers 2 --task digits-mlp", 3, "blocks"),
        ("dp-clip21 --task mushrooms-logistic", 6, "`privacy.unit=client`"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = scratch.at(&i.to_string());
        prints(&words(&format!("run {run} --steps 20 --quiet --out {out}")));
        let (recipe, model) = (text(&out, "recipe.toml"), bytes(&out, "model.safetensors"));
        let (status, said) = refused(&words(&format!("run --resume {out} --workers {workers} --quiet")));
        assert!(status == 2 && said.contains(what), "{run}: {status} {said}");
        assert_eq!(text(&out, "recipe.toml"), recipe, "{run}");
        prints(&words(&format!("run --resume {out} --quiet")));
        assert_eq!(bytes(&out, "model.safetensors"), model, "{run}");
    }
}

#[test]
fn a_reached_target_stays_reached_and_seconds_never_run_backwards() {
    let scratch = Scratch::new("target");
    let out = scratch.at("run");
    prints(&words(&format!(
        "run sync-sgd --task mushrooms-logistic --until loss=0.2 --eval-every 1 --checkpoint-every 2 --quiet --out {out}"
    )));
    let (model, steps) = (bytes(&out, "model.safetensors"), summary(&out)["steps"].clone());
    prints(&words(&format!("run --resume {out} --quiet")));
    assert_eq!((bytes(&out, "model.safetensors"), &summary(&out)["steps"]), (model, &steps));
    let text = String::from_utf8(bytes(&out, "record.jsonl")).unwrap();
    let seconds: Vec<f64> = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["seconds"].as_f64().unwrap())
        .collect();
    assert!(seconds.windows(2).all(|w| w[0] <= w[1]), "{seconds:?}");
}
