//! Losses alone: a network that is fooled through its outputs, and fine-tuning from a saved model by a few bytes a step.

use super::{Scratch, bytes, prints, refused, summary, words};

/// The training loss at the first look.
fn first_loss(folder: &str) -> f64 {
    let record = String::from_utf8(bytes(folder, "record.jsonl")).unwrap();
    let point: serde_json::Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    point["train_loss"].as_f64().unwrap()
}

#[test]
fn a_run_starts_from_a_saved_model_and_is_tuned_by_a_few_bytes_a_step() {
    let scratch = Scratch::new("start");
    let (first, tuned, again) = (scratch.at("first"), scratch.at("tuned"), scratch.at("again"));
    prints(&words(&format!("run sync-sgd --task mushrooms-logistic --steps 30 --quiet --out {first}")));
    let model = format!("{first}/model.safetensors");
    prints(&words(&format!(
        "run zo-seeded --task mushrooms-logistic --steps 200 --start {model} --checkpoint-every 90 --quiet --out {tuned}"
    )));
    let (before, after) = (summary(&first), summary(&tuned));
    assert!(after["started_from"].as_str().unwrap().ends_with("first/model.safetensors"), "{after}");
    assert!(before["started_from"].is_null());
    let loss = |s: &serde_json::Value| s["train_loss"].as_f64().unwrap();
    assert!((first_loss(&tuned) - loss(&before)).abs() < 1e-12, "it begins where the other ended");
    assert!(loss(&after) < loss(&before), "{after}");
    let a_step = after["bytes_sent_per_worker"].as_u64().unwrap() / 200;
    assert!(a_step < 100, "{a_step} bytes a step");
    // Its recipe says where it began, so it may be run again and resumed.
    prints(&words(&format!("run {tuned}/recipe.toml --quiet --out {again}")));
    assert_eq!(bytes(&tuned, "model.safetensors"), bytes(&again, "model.safetensors"));
    prints(&words(&format!("run --resume {tuned}")));
    for (line, hint) in [
        (format!("run zo-seeded --task quadratic --start {model}"), "but the model needs"),
        (format!("run zo-seeded --task mushrooms-logistic --start {first}/none"), "none"),
        (format!("run --resume {tuned} --start {model}"), "--start"),
    ] {
        let out = scratch.at("refused");
        let line = if line.contains("--resume") { line } else { format!("{line} --out {out}") };
        let (status, said) = refused(&words(&line));
        assert!(status == 2 && said.contains(hint), "{line}: {said}");
        assert!(!std::path::Path::new(&out).exists(), "{line} wrote something");
    }
}

#[test]
fn a_network_is_fooled_through_its_outputs_alone() {
    let scratch = Scratch::new("fool");
    let fooled = |name: &str, line: &str| {
        let out = scratch.at(name);
        prints(&words(&format!("run {line} --task fool-digits-mlp --eval-every 100 --quiet --out {out}")));
        (summary(&out), first_loss(&out))
    };
    let (s, clean) = fooled("sgd", "zo-proxsgd --steps 300 --set optim.prox=l1(0.001,low=-0.3,high=0.3)");
    assert!(s["train_loss"].as_f64().unwrap() < 0.7 * clean, "{clean}: {s}");
    assert!(s["accuracy"].as_f64().unwrap() > 0.2, "{s}");
    let (coordinates, _) = fooled(
        "coordinates",
        "zo-proxsgd --steps 30 --set local.estimate=coosge --set task=fool-digits-mlp(margin=logistic)",
    );
    assert!(coordinates["accuracy"].as_f64().unwrap() > 0.2, "{coordinates}");
    let out = scratch.at("gradients");
    let (status, said) = refused(&words(&format!("run sync-sgd --task fool-digits-mlp --steps 3 --out {out}")));
    assert!(status == 2 && said.contains("no gradients; use zo-proxsgd"), "{said}");
}
