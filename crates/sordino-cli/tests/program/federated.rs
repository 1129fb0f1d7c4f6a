//! Clients that are not always there, from the command line.

use std::path::Path;
use std::process::Stdio;

use super::{Scratch, bytes, command, prints, refused, summary, words};

#[test]
fn speakers_train_a_model_by_taking_turns() {
    let scratch = Scratch::new("vowels");
    let out = scratch.at("run");
    prints(&words(&format!(
        "run fedavg --task vowel-mlp --set partition=natural --rounds 60 --workers 2 --quiet --out {out}"
    )));
    let s = summary(&out);
    assert_eq!((s["clients"].as_u64(), s["rounds"].as_u64()), (Some(15), Some(60)));
    // A guess is right once in eleven times.
    assert!(s["accuracy"].as_f64().unwrap() > 0.4, "{s}");
    assert!(s["client_loss_worst"].as_f64().unwrap() > s["train_loss"].as_f64().unwrap());
    let metrics: serde_json::Value = serde_json::from_str(&prints(&["eval", &out, "--json"])).unwrap();
    assert_eq!(metrics["metrics"]["test"]["accuracy"], s["accuracy"]);
    assert_eq!(metrics["metrics"]["test"]["examples"].as_u64(), Some(330));
}

#[test]
fn every_role_is_a_client_and_a_stopped_run_goes_on() {
    let scratch = Scratch::new("roles");
    let (whole, broken) = (scratch.at("whole"), scratch.at("broken"));
    let line = |out: &str| {
        let what = "run scaffold --task roles-lstm --set partition=natural --set participation.count=2";
        format!("{what} --rounds 4 --workers 2 --eval-every 9 --quiet --out {out}")
    };
    prints(&words(&line(&whole)));
    let s = summary(&whole);
    assert_eq!((s["clients"].as_u64(), s["rounds"].as_u64()), (Some(1426), Some(4)));
    let mut child = command(&words(&line(&broken))).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !Path::new(&broken).join("checkpoint/latest").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&broken).join("summary.json").exists());
    prints(&words(&format!("run --resume {broken} --quiet")));
    assert_eq!(summary(&broken)["rounds"].as_u64(), Some(4));
    assert_eq!(bytes(&whole, "model.safetensors"), bytes(&broken, "model.safetensors"));
}

#[test]
fn who_plays_the_clients_changes_no_bit() {
    let scratch = Scratch::new("players");
    for (name, choices) in [
        ("stateless", "fedavg --task vowel-mlp --set partition=natural"),
        ("stateful", "scaffold --task vowel-mlp --set partition=natural"),
        (
            "lossy",
            "fedavg --task digits-mlp --set partition=dirichlet(0.3) --set compress=topk(0.1) --set feedback=residual",
        ),
    ] {
        let model = |workers: u32| {
            let out = scratch.at(&format!("{name}-{workers}"));
            prints(&words(&format!("run {choices} --rounds 6 --workers {workers} --seed 3 --quiet --out {out}")));
            bytes(&out, "model.safetensors")
        };
        let one = model(1);
        for workers in [2, 3] {
            assert!(one == model(workers), "{name}: {workers} workers give another model than one");
        }
    }
}

#[test]
fn flipped_labels_hurt_and_held_out_ones_stay_true() {
    let scratch = Scratch::new("flipped");
    for task in ["mushrooms-logistic", "digits-mlp"] {
        let accuracy = |flip: u32| {
            let out = scratch.at(&format!("{task}-{flip}"));
            prints(&words(&format!(
                "run sync-sgd --task {task} --workers 5 --steps 60 --set partition=contiguous(flip={flip}) --quiet --out {out}"
            )));
            summary(&out)["accuracy"].as_f64().unwrap()
        };
        let (honest, few, all) = (accuracy(0), accuracy(2), accuracy(5));
        assert!(honest > 0.8, "{task}: {honest}");
        assert!(all < 0.2, "{task}: who learns from lies alone answers wrongly where answers are true: {all}");
        assert!(few > all, "{task}: {few} {all}");
    }
}

#[test]
fn mixes_that_make_no_sense_with_clients_are_refused_with_a_cure() {
    for (choices, reason, cure) in [
        ("fedavg --task vowel-mlp --set exchange=gather", "meet at a server", "set exchange=star"),
        ("fedavg --task vowel-mlp --set partition=iid(flip=2)", "dealt anew", "partition=contiguous(flip=2)"),
        ("fedavg --task roles-lstm --set partition=natural(flip=2)", "no labels to flip", "partition.flip=0"),
        ("fedavg --task digits-mlp --set partition=dirichlet(flip=200)", "there are 100", "lower partition.flip"),
        ("sync-sgd --task quadratic --set partition=contiguous(flip=1)", "no rows to deal", "spread"),
        ("fedavg --task vowel-mlp --set participation.clients=20 --set partition=natural", "15 clients", "at most 15"),
        ("fedavg --task vowel-mlp --set participation.deadline=9", "virtual clock", "fabric=sim"),
        ("fedavg --task digits-mlp --set partition=natural", "needs a client", "use iid or contiguous"),
        ("fedavg --task vowel-mlp --data /tmp", "brings its own data", "takes no --data"),
        ("fedavg --task vowel-mlp --rounds 0", "0", "--rounds"),
        ("fedavg --task vowel-mlp --rounds 4 --steps 4", "--rounds", "cannot be used with"),
    ] {
        let scratch = Scratch::new("refused-clients");
        let out = scratch.at("run");
        let (status, said) = refused(&words(&format!("run {choices} --out {out}")));
        assert_eq!(status, 2, "{choices}: {said}");
        assert!(said.contains(reason) && said.contains(cure), "{choices}: {said}");
        assert!(!Path::new(&out).exists(), "{choices} wrote something");
    }
}

#[test]
fn rounds_are_as_many_as_were_asked_for() {
    let scratch = Scratch::new("rounds");
    for (choices, rounds) in [
        ("fedavg --task digits-mlp --set partition=dirichlet(0.5)", 3),
        ("fedavg --task vowel-mlp --set schedule=epochs(3) --set partition=natural", 5),
        ("local-sgd --task quadratic", 7),
        ("sync-sgd --task mushrooms-logistic", 4),
    ] {
        let out = scratch.at(&rounds.to_string());
        prints(&words(&format!("run {choices} --rounds {rounds} --quiet --out {out}")));
        assert_eq!(summary(&out)["rounds"].as_u64(), Some(rounds), "{choices}");
    }
}
