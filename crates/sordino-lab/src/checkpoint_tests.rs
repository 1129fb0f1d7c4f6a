use super::*;
use crate::files::Scratch;

fn state(seed: f32) -> State {
    let mut state = State::default();
    state.put("parameters", &[seed, -0.0, f32::NAN]);
    state.put("feedback/residual", &[]);
    state.put_numbers("parameters", &[u64::MAX, 3]);
    state
}

fn manifest(round: u64) -> Manifest {
    let flow = FlowRow { from: "0".into(), to: "1".into(), purpose: "payload".into(), messages: 2, bytes: 1 << 50 };
    Manifest {
        round,
        step: 10 * round,
        record_offset: 77,
        flows: vec![flow],
        recipe: "seed = 1\n[optim]\n".into(),
        clocks: [("seconds".to_owned(), 0.1)].into(),
        ..Manifest::default()
    }
}

fn loaded_round(run: &Path) -> u64 {
    let checkpoint = load(run).unwrap();
    assert_eq!(checkpoint.ranks.len(), 2);
    checkpoint.manifest.round
}

fn folders(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.join(FOLDER))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn states_and_manifest_survive_the_disk() {
    let scratch = Scratch::new("checkpoint");
    assert!(!exists(&scratch.0));
    assert!(load(&scratch.0).unwrap_err().to_string().contains("has no checkpoint"));
    save(&scratch.0, manifest(120), &[state(1.0), state(2.0)]).unwrap();
    assert!(exists(&scratch.0));
    let back = load(&scratch.0).unwrap();
    assert_eq!(back.manifest, Manifest { ranks: 2, ..manifest(120) });
    let bits = |s: &State| s.vectors.values().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back.ranks[1]), bits(&state(2.0)));
    assert_eq!(back.ranks[0].numbers, state(1.0).numbers);
    assert!(back.ranks[0].vectors["feedback/residual"].is_empty());
    assert_eq!(folders(&scratch.0), ["latest", "round-000120"]);
}

#[test]
fn older_checkpoints_are_removed_and_a_round_reached_twice_is_safe() {
    let scratch = Scratch::new("older");
    for round in [0, 5, 5, 5, 4] {
        save(&scratch.0, manifest(round), &[state(0.0), state(1.0)]).unwrap();
        assert_eq!(loaded_round(&scratch.0), round);
        assert_eq!(folders(&scratch.0).len(), 2);
    }
}

#[test]
fn a_writer_killed_at_any_instant_leaves_the_old_checkpoint() {
    let scratch = Scratch::new("killed");
    save(&scratch.0, manifest(1), &[state(0.0), state(1.0)]).unwrap();
    // After beginning, after one rank, after both, with files cut short aside.
    let draft = Draft::begin(&scratch.0, 2).unwrap();
    assert_eq!(loaded_round(&scratch.0), 1);
    Draft::join(draft.folder()).write_rank(0, &state(5.0)).unwrap();
    fs::write(draft.folder().join("rank-1.safetensors.tmp"), [1, 2, 3]).unwrap();
    assert_eq!(loaded_round(&scratch.0), 1);
    let says = draft.clone().commit(&Manifest { ranks: 2, ..manifest(2) }).unwrap_err().to_string();
    assert!(says.contains("rank-1.safetensors is missing"), "{says}");
    draft.write_rank(1, &state(6.0)).unwrap();
    fs::write(draft.folder().join(MANIFEST), "{\"round\": 2").unwrap();
    fs::write(scratch.0.join(FOLDER).join("latest.tmp"), "round-0").unwrap();
    assert_eq!(loaded_round(&scratch.0), 1);
    // The same round again: nothing of the half-written one is left in it.
    save(&scratch.0, manifest(2), &[state(7.0), state(8.0)]).unwrap();
    assert_eq!(loaded_round(&scratch.0), 2);
    assert_eq!(load(&scratch.0).unwrap().ranks[0].vectors["parameters"][0], 7.0);
    assert_eq!(folders(&scratch.0), ["latest", "round-000002"]);
}

#[test]
fn a_name_that_leads_elsewhere_and_a_foreign_tensor_are_refused() {
    let scratch = Scratch::new("elsewhere");
    save(&scratch.0, manifest(1), &[state(0.0)]).unwrap();
    fs::write(scratch.0.join(FOLDER).join(LATEST), "round-1/../../x").unwrap();
    assert!(load(&scratch.0).unwrap_err().to_string().contains("expected the name of a folder"));
    let foreign = Item { name: "weight".into(), shape: vec![1], numbers: Numbers::F32(&[1.0]) };
    let bytes = archive::pack(&[foreign], &BTreeMap::new()).unwrap();
    assert!(decode("t", &bytes).unwrap_err().to_string().contains("got `weight` in F32"));
}
