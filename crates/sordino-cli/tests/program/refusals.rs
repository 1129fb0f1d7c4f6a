//! Wrong requests: exit status 2, a sentence that names what came and the cure, nothing written.

use super::{Scratch, refused, words};

#[test]
fn wrong_requests_are_refused_with_status_2_and_a_cure() {
    for (line, hint) in [
        ("run qrs --task digits-mlp", "did you mean `qsr`"),
        ("run qsr --task digit-mlp", "did you mean `digits-mlp`"),
        ("run qsr", "--task"),
        ("run qsr --task digits-mlp --set compres=dense", "did you mean `compress`"),
        ("run qsr --task digits-mlp --set compress=orc(9)", "did you mean `orq`"),
        ("run qsr --task digits-mlp --set compress=orq(4)", "orq"),
        ("run qsr --task digits-mlp --set schedule.bass=4", "did you mean `base`"),
        ("run qsr --task digits-mlp --set optim.rate=fast", "must be a number"),
        ("run sync-sgd --task digits-mlp --set compress=topk(0.1)", "exchange=gather"),
        ("run sync-sgd --task digits-mlp --set feedback=residual(lambda=1)", "offer displacement"),
        ("run sync-sgd --task quadratic(dims=3)", "did you mean `dim`"),
        ("run sync-sgd --task logistic", "--data FILE"),
        ("run sync-sgd --task ridge", "--data FILE"),
        ("run cocoa --task digits-mlp", "made-ridge"),
        ("run cocoa --task mushrooms-logistic", "made-ridge"),
        ("run cocoa-plus --task mushrooms-ridge(l2=0)", "task.l2"),
        ("run cocoa-plus --task made-ridge(nonzeros=2000)", "nonzeros"),
        ("run sync-sgd --task logistic --data /no/such/file", "there is no file"),
        ("run sync-sgd --task quadratic --until accuracy=1", "loss=X"),
        ("run sync-sgd --task quadratic --workers 0", "0"),
        ("run missing.toml", "missing.toml"),
        ("run --resume /no/such/run", "recipe.toml"),
        ("eval /no/such/run", "recipe.toml"),
        ("report /no/such/run", "no directory"),
        ("explain qsrr", "did you mean `qsr`"),
        ("claims celgd", "did you mean `celgc`"),
        ("claims celgc celgc", "asked for twice"),
        ("claims missing.toml", "missing.toml"),
        ("run sync-sgd --task mushrooms-logistic --set partition=dirichlet(alpha=0)", "alpha"),
        ("run sync-sgd --task quadratic --epochs 0", "--epochs must be above 0"),
        ("run sync-sgd --task digits-mlp --set local.batch=1e12", "at most"),
        ("run sync-sgd --task quadratic(dim=1e15)", "at most"),
        ("run sync-sgd --task quadratic --seed 18446744073709551615", "--seed"),
        ("run sync-sgd --task digits-mlp --data /tmp", "takes no --data"),
        ("train", "unrecognized"),
    ] {
        let scratch = Scratch::new("refused");
        let out = scratch.at("run");
        let mut arguments = words(line);
        if line.starts_with("run") && !line.contains("--resume") {
            arguments.extend(["--out", &out]);
        }
        let (status, said) = refused(&arguments);
        assert_eq!(status, 2, "{line}: {said}");
        assert!(said.contains(hint), "{line}: {said}");
        assert!(!said.contains("panicked"), "{line}: {said}");
        assert!(!std::path::Path::new(&out).exists(), "{line} wrote something");
    }
}

#[test]
fn a_malformed_data_file_is_named_with_line_and_column() {
    let scratch = Scratch::new("data");
    let file = scratch.at("bad.libsvm");
    std::fs::write(&file, "1 1:0.5 3:1\n-1 2:x\n").unwrap();
    let (status, said) =
        refused(&words(&format!("run sync-sgd --task logistic --data {file} --out {}", scratch.at("run"))));
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("bad.libsvm") && said.contains('2') && said.contains("column"), "{said}");
}

#[test]
fn a_run_is_never_overwritten() {
    let scratch = Scratch::new("vacant");
    let out = scratch.at("run");
    super::prints(&words(&format!("run sync-sgd --task quadratic --steps 4 --out {out}")));
    let (status, said) = refused(&words(&format!("run sync-sgd --task quadratic --steps 4 --out {out}")));
    assert_eq!(status, 2);
    assert!(said.contains("already holds a run") && said.contains("--resume"), "{said}");
}

#[test]
fn a_recipe_file_is_held_to_what_the_flags_are_held_to() {
    let scratch = Scratch::new("recipe-file");
    let file = scratch.at("wrong.toml");
    for (line, hint) in [
        ("workers = 0", "workers"),
        ("workers = -3", "workers"),
        ("workers = \"four\"", "workers"),
        ("workers = 100000", "workers"),
        ("steps = 0", "steps"),
        ("stps = 4", "did you mean `steps`"),
    ] {
        std::fs::write(&file, format!("method = \"sync-sgd\"\ntask = \"quadratic\"\n{line}\n")).unwrap();
        let (status, said) = refused(&["run", &file, "--out", &scratch.at("run")]);
        assert_eq!(status, 2, "{line}: {said}");
        assert!(said.contains(hint), "{line}: {said}");
    }
}
