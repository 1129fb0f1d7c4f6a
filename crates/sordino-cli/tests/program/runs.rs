//! What a run leaves and prints.

use super::{Scratch, bytes, prints, refused, summary, words};

#[test]
fn a_run_leaves_every_file_and_every_number() {
    let scratch = Scratch::new("files");
    let out = scratch.at("run");
    let said = prints(&words(&format!(
        "run qsr --task digits-mlp --steps 60 --workers 3 --seed 5 --set compress=orq(9) --set feedback=residual --out {out}"
    )));
    assert!(said.contains("qsr") && said.contains("report.html"), "{said}");
    for file in
        ["recipe.toml", "record.jsonl", "record.csv", "summary.json", "model.safetensors", "checkpoint", "report.html"]
    {
        assert!(std::path::Path::new(&out).join(file).exists(), "{file} is missing");
    }
    let s = summary(&out);
    for key in [
        "seed",
        "steps",
        "rounds",
        "train_loss",
        "eval_loss",
        "accuracy",
        "bytes_sent_per_worker",
        "bytes_received_per_worker",
        "bytes_sync_fp32_per_worker",
        "compute_seconds",
        "exchange_seconds",
        "wait_seconds",
        "wall_seconds",
        "parameters",
        "workers",
    ] {
        assert!(s[key].is_number(), "{key}: {}", s[key]);
    }
    assert_eq!((s["method"].as_str(), s["task"].as_str()), (Some("qsr"), Some("digits-mlp")));
    assert_eq!((s["steps"].as_u64(), s["workers"].as_u64(), s["seed"].as_u64()), (Some(60), Some(3), Some(5)));
    assert_eq!(s["diverged"].as_bool(), Some(false));
    let d = s["parameters"].as_u64().unwrap();
    assert_eq!(s["bytes_sync_fp32_per_worker"].as_u64(), Some(60 * 8 * 2 * d / 3));
    let flows = s["flows"].as_array().unwrap();
    let sent: u64 = flows
        .iter()
        .filter(|f| f["from"] == "0" && f["purpose"] == "payload")
        .map(|f| f["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(s["bytes_sent_per_worker"].as_u64(), Some(sent));
}

#[test]
fn the_same_recipe_and_seed_twice_give_the_same_bits_and_another_seed_does_not() {
    let scratch = Scratch::new("twice");
    let model = |name: &str, seed: u32| {
        let out = scratch.at(name);
        prints(&words(&format!("run saef --task digits-mlp --steps 40 --seed {seed} --quiet --out {out}")));
        bytes(&out, "model.safetensors")
    };
    let first = model("a", 1);
    assert_eq!(first, model("b", 1));
    assert_ne!(first, model("c", 2));
}

#[test]
fn one_two_and_four_workers_with_the_large_batch_agree_to_rounding() {
    let scratch = Scratch::new("workers");
    let loss = |workers: u32| {
        let out = scratch.at(&workers.to_string());
        let batch = 64 / workers;
        prints(&words(&format!(
            "run sync-sgd --task digits-mlp --steps 50 --workers {workers} --set local.batch={batch} --quiet --out {out}"
        )));
        summary(&out)["train_loss"].as_f64().unwrap()
    };
    let one = loss(1);
    assert!((loss(2) - one).abs() < 1e-5 * one && (loss(4) - one).abs() < 1e-5 * one, "{one}");
}

#[test]
fn every_row_runs_on_tasks_of_every_kind_with_no_further_flag() {
    let scratch = Scratch::new("rows");
    let rows: serde_json::Value = serde_json::from_str(&prints(&["methods", "--json"])).unwrap();
    for row in rows.as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let cut = row["choices"].to_string().contains("pipeline");
        // Dual ascent is for linear models with l2.
        let dual = name.starts_with("cocoa") || name == "acpd";
        let any = [("digits-mlp", 12), ("mushrooms-logistic", 20), ("quadratic", 20)];
        let linear = [("mushrooms-ridge", 20), ("made-ridge", 20), ("made-ridge(rows=50,labels=numbers)", 40)];
        for (task, steps) in if dual { linear } else { any } {
            // A network of one layer has nowhere to be cut.
            if cut && task != "digits-mlp" {
                let (status, said) = refused(&words(&format!("run {name} --task {task} --out {}", scratch.at("none"))));
                assert!(status == 2 && said.contains("placement=replicate"), "{name} on {task}: {said}");
                continue;
            }
            let out = scratch.at(&format!("{name}-{task}"));
            prints(&words(&format!("run {name} --task {task} --steps {steps} --quiet --out {out}")));
            // Where workers come at their own pace the last update may take a few steps more.
            let made = summary(&out)["steps"].as_u64().unwrap();
            let served = row["choices"].to_string().contains("first_b") || name == "fedbuff";
            assert!(made == steps || (served && made > steps), "{name} on {task}: {made} of {steps} steps");
        }
    }
}

#[test]
fn seeds_are_runs_of_their_own_and_a_target_ends_a_run() {
    let scratch = Scratch::new("seeds");
    let out = scratch.at("three");
    prints(&words(&format!("run local-sgd --task quadratic --steps 16 --seeds 3 --seed 4 --out {out}")));
    let seeds: Vec<_> = (4..7).map(|s| summary(&format!("{out}/seed-{s}"))["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [4, 5, 6]);
    let until = scratch.at("until");
    prints(&words(&format!("run sync-sgd --task mushrooms-logistic --until loss=0.3 --eval-every 5 --out {until}")));
    let s = summary(&until);
    assert!(s["train_loss"].as_f64().unwrap() <= 0.3 && s["steps"].as_u64().unwrap() < 500, "{s}");
}

#[test]
fn divergence_is_a_finding_and_not_a_failure() {
    let scratch = Scratch::new("diverged");
    let out = scratch.at("run");
    let said = prints(&words(&format!("run local-sgd --task polynomial --steps 64 --out {out}")));
    assert!(said.contains("diverged"), "{said}");
    let s = summary(&out);
    assert_eq!(s["diverged"].as_bool(), Some(true));
    assert!(s["train_loss"].is_null(), "a loss that was not measured is not known: {s}");
    let clipped = scratch.at("clipped");
    prints(&words(&format!("run celgc --task polynomial --steps 64 --out {clipped}")));
    assert_eq!(summary(&clipped)["diverged"].as_bool(), Some(false));
}

#[test]
fn comparisons_reports_and_evaluations_read_what_runs_left() {
    let scratch = Scratch::new("compare");
    let out = scratch.at("all");
    let said = prints(&[
        "compare",
        "sync-sgd",
        "qsr compress=orq(3) feedback=residual",
        "--task",
        "digits-mlp",
        "--steps",
        "40",
        "--quiet",
        "--out",
        &out,
    ]);
    assert!(said.contains("qsr compress=orq(3)") && said.contains("fewer"), "{said}");
    let page = String::from_utf8(bytes(&out, "report.html")).unwrap();
    assert!(page.contains("sync-sgd") && !page.contains("src=\"http"));
    let again = scratch.at("again.html");
    prints(&["report", &out, "--out", &again]);
    let run = format!("{out}/sync-sgd-seed0");
    let metrics: serde_json::Value = serde_json::from_str(&prints(&["eval", &run, "--json"])).unwrap();
    let s = summary(&run);
    assert_eq!(metrics["metrics"]["test"]["accuracy"], s["accuracy"]);
    assert_eq!(metrics["metrics"]["train"]["loss"], s["train_loss"]);
}

#[test]
fn a_recipe_file_is_run_as_written_and_a_runs_own_recipe_runs_again() {
    let scratch = Scratch::new("recipe");
    let file = scratch.at("mine.toml");
    std::fs::write(&file, "method = \"local-sgd\"\ntask = \"quadratic(dim=50)\"\nsteps = 24\n[schedule]\nevery = 6\n")
        .unwrap();
    let (a, b) = (scratch.at("a"), scratch.at("b"));
    prints(&["run", &file, "--out", &a]);
    assert_eq!(summary(&a)["rounds"].as_u64(), Some(4));
    prints(&["run", &format!("{a}/recipe.toml"), "--out", &b]);
    assert_eq!(bytes(&a, "model.safetensors"), bytes(&b, "model.safetensors"));
}

#[test]
fn what_is_lost_both_ways_is_told_later() {
    // Unequal workers, a tenth of the entries up and down: EF21 reaches the loss of the dense way, no feedback does not.
    let scratch = Scratch::new("both-ways");
    let loss = |name: &str, choices: &str| {
        let out = scratch.at(name);
        let task = "quadratic(dim=100,spread=1,skew=0.5)";
        prints(&words(&format!("run {choices} --task {task} --steps 3000 --set optim.rate=0.1 --quiet --out {out}")));
        summary(&out)["train_loss"].as_f64().unwrap()
    };
    let dense = loss("dense", "sync-sgd");
    let up = "ef21 --set compress=topk(0.1)";
    for way_down in ["ef21", "residual"] {
        let found = loss(way_down, &format!("{up} --set exchange=star(down=topk(0.1),feedback={way_down})"));
        assert!((found - dense).abs() < 1e-3 * dense, "{way_down}: {found}, dense {dense}");
    }
    let none = loss("none", "qsgd --set compress=topk(0.1)");
    assert!(none > 1.01 * dense, "top-k alone reached {none}, dense {dense}");
}

#[test]
fn a_problem_without_rows_is_evaluated_as_the_mean_over_its_workers() {
    let scratch = Scratch::new("eval-quadratic");
    let out = scratch.at("run");
    prints(&words(&format!("run sync-sgd --task quadratic --steps 9 --workers 3 --out {out}")));
    let metrics: serde_json::Value = serde_json::from_str(&prints(&["eval", &out, "--json"])).unwrap();
    assert_eq!(metrics["metrics"]["train"]["loss"], summary(&out)["train_loss"]);
}

#[test]
fn a_held_out_file_with_fewer_features_is_evaluated() {
    let scratch = Scratch::new("held-out");
    let (train, test, out) = (scratch.at("train"), scratch.at("test"), scratch.at("run"));
    std::fs::write(&train, "1 1:1 4:1\n0 2:1\n1 1:2\n0 2:3 3:1\n").unwrap();
    std::fs::write(&test, "1 1:1\n1 1:3 2:0.5\n").unwrap();
    prints(&words(&format!("run sync-sgd --task logistic --data {train} --workers 2 --steps 20 --out {out}")));
    let said = prints(&["eval", &out, "--data", &test, "--json"]);
    let metrics: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(metrics["metrics"]["train"]["accuracy"].as_f64(), Some(1.0), "{said}");
}

#[test]
fn pipelines_are_cut_by_what_layers_cost_and_write_down_where() {
    let scratch = Scratch::new("pipelines");
    let run = |name: &str, line: &str| {
        let out = scratch.at(name);
        prints(&words(&format!("run {line} --quiet --out {out}")));
        let recipe = std::fs::read_to_string(format!("{out}/recipe.toml")).unwrap();
        let placement = recipe.lines().find(|l| l.starts_with("placement")).unwrap().to_owned();
        (placement, summary(&out), bytes(&out, "model.safetensors"))
    };
    let transformer = "--task shakespeare-transformer --workers 2 --steps 4";
    let (placement, s, _) = run("ring", &format!("ouroboros {transformer}"));
    // Embedding, two layers and the output: each layer costs more than both ends.
    assert!(placement.contains("blocks=3") && placement.contains("cuts=at("), "{placement}");
    let flows = s["flows"].to_string();
    assert!(flows.contains("activations") && flows.contains("errors"), "{flows}");
    let (placement, _, by_hand) = run("hand", &format!("ouroboros {transformer} --set placement.cuts=at(1,3)"));
    assert!(placement.contains("cuts=at(1, 3)"), "{placement}");
    assert_eq!(run("again", &format!("ouroboros {transformer} --set placement.cuts=at(1,3)")).2, by_hand);
    // Exact, whoever holds the layers; two copies of two blocks see the rows of two workers.
    let whole = run("whole", "local-sgd --task digits-mlp --workers 2 --steps 24");
    let cut = run("cut", "local-sgd --task digits-mlp --workers 4 --steps 24 --set placement=pipeline(capacity=0)");
    assert_eq!(whole.2, cut.2);
    assert_eq!(whole.1["epochs"], cut.1["epochs"]);
    let (_, said) = refused(&words(&format!("run dsp {transformer} --out {}", scratch.at("none"))));
    assert!(said.contains("placement.ring=true"), "{said}");
}
