//! The program under a launcher: its processes are the ranks of a run.

use super::{command, prints, words};

/// As one process of several that a launcher has started, or so the environment says.
fn as_rank(rank: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(arguments);
    command.env("OMPI_COMM_WORLD_RANK", rank).env("OMPI_COMM_WORLD_SIZE", "4");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
#[cfg(not(feature = "mpi"))]
fn without_mpi_one_process_says_how_to_get_it() {
    let line = words("run qsr --task digits-mlp");
    let (status, _, said) = as_rank("0", &line);
    assert_eq!(status, 2);
    for word in ["mpirun (Open MPI) started 4 processes", "--features mpi"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(as_rank("3", &line), (2, String::new(), String::new()));
}

#[test]
fn one_process_says_what_is_wrong_with_the_command_line() {
    let (status, _, said) = as_rank("0", &words("run --nonsense"));
    assert!(status == 2 && said.contains("--nonsense"), "{said}");
    assert_eq!(as_rank("2", &words("run --nonsense")), (2, String::new(), String::new()));
    assert!(prints(&["--help"]).contains("mpirun -n 4"));
}

#[cfg(feature = "mpi")]
mod processes {
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    use super::super::{Scratch, bytes, prints, summary, words};

    /// The launcher of the MPI that the program is linked with; `MPIRUN` names another.
    fn mpirun(processes: usize, line: &str) -> Command {
        let mut command = Command::new(std::env::var("MPIRUN").unwrap_or_else(|_| "mpirun".into()));
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // More ranks than cores; MPICH does not mind, and does not know this variable.
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command.args(["-n", &processes.to_string(), env!("CARGO_BIN_EXE_sordino")]).args(words(line));
        command
    }

    fn ended(processes: usize, line: &str) -> (i32, String, String) {
        let Output { status, stdout, stderr } = mpirun(processes, line).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
    }

    fn succeeds(processes: usize, line: &str) -> String {
        let (status, stdout, stderr) = ended(processes, line);
        assert_eq!(status, 0, "{line}: {stderr}");
        stdout
    }

    #[test]
    fn a_run_over_processes_is_the_run_over_threads() {
        let scratch = Scratch::new("processes");
        let runs = [
            "qsr --set compress=orq(9) --set feedback=residual",
            "diloco --set schedule.every=4",
            "scaffold --set partition=dirichlet(0.3) --set participation.count=4",
            "dsp --set schedule.every=2 --set placement.cuts=at(1)",
        ];
        for (i, run) in runs.iter().enumerate() {
            let line = |out: &str| format!("run {run} --task digits-mlp --steps 100 --eval-every 5 --out {out}");
            let (threads, processes) = (scratch.at(&format!("threads-{i}")), scratch.at(&format!("processes-{i}")));
            prints(&words(&format!("{} --workers 4 --quiet", line(&threads))));
            let said = succeeds(4, &line(&processes));
            assert_eq!(said.matches("report: ").count(), 1, "{run}: one process prints: {said}");
            assert_eq!(bytes(&threads, "model.safetensors"), bytes(&processes, "model.safetensors"), "{run}");
            let (a, b) = (summary(&threads), summary(&processes));
            for key in
                ["train_loss", "accuracy", "rounds", "bytes_sent_per_worker", "bytes_received_per_worker", "workers"]
            {
                assert_eq!(a[key], b[key], "{run}: {key}");
            }
            let points = |out: &str| String::from_utf8(bytes(out, "record.jsonl")).unwrap().lines().count();
            assert_eq!(points(&threads), points(&processes), "{run}");
        }
    }

    #[test]
    fn several_runs_one_of_which_diverges_and_a_server_are_all_the_same_processes() {
        let scratch = Scratch::new("several");
        let out = scratch.at("out");
        let line = "compare local-sgd sync-sgd --task quadratic(dim=50) --steps 60";
        let said = succeeds(3, &format!("{line} --set optim.rate=1e30 --out {out}"));
        assert!(summary(&format!("{out}/local-sgd-seed0"))["diverged"].as_bool().unwrap(), "{said}");
        assert!(summary(&format!("{out}/sync-sgd-seed0"))["diverged"].as_bool().unwrap(), "{said}");
        let served = scratch.at("served");
        succeeds(3, &format!("run async-sgd --task quadratic(dim=50) --steps 60 --out {served}"));
        assert_eq!(summary(&served)["workers"], 2, "one of three processes is the server");
        let again = scratch.at("again");
        prints(&words(&format!("run --replay {served} --out {again}")));
        assert_eq!(bytes(&served, "model.safetensors"), bytes(&again, "model.safetensors"));
    }

    #[test]
    fn requests_that_are_wrong_end_all_processes_with_one_sentence() {
        for (line, word) in [
            ("run qsr --task digits-mlp --workers 3", "leave --workers out"),
            ("run qsr --task nonsense", "nonsense"),
            ("run qsr --task quadratic --set fabric=sim", "fabric=sim"),
            ("run qsr --task quadratic --timeout 0", "--timeout"),
        ] {
            let scratch = Scratch::new("wrong");
            let (status, _, said) = ended(2, &format!("{line} --out {}", scratch.at("out")));
            assert_eq!(status, 2, "{line}: {said}");
            assert!(said.matches(word).count() >= 1, "{line}: {said}");
        }
    }

    /// The processes of the run that goes to `out`, by rank.
    fn ranks(out: &str) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name: &str| {
                let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            if !read("comm").starts_with("sordino") || !read("cmdline").contains(out) {
                continue;
            }
            let variables = read("environ");
            let of = |name: &str| variables.split('\0').find_map(|v| v.strip_prefix(name)?.parse::<usize>().ok());
            found.extend(of("OMPI_COMM_WORLD_RANK=").or_else(|| of("PMI_RANK=")).map(|rank| (rank, pid)));
        }
        found.sort_unstable();
        found
    }

    /// A run that goes on for long, once there is a checkpoint, and its processes.
    fn begun(processes: usize, out: &str, more: &str) -> (std::process::Child, Vec<(usize, u32)>) {
        let line = format!("run saef --task digits-mlp --epochs 100000 --checkpoint-every 5 {more} --out {out}");
        let mut child = mpirun(processes, &line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        while !Path::new(out).join("checkpoint/latest").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it was to be disturbed");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let all = ranks(out);
        assert_eq!(all.iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), (0..processes).collect::<Vec<_>>());
        (child, all)
    }

    fn signal(name: &str, pid: u32) {
        assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
    }

    #[test]
    fn a_process_that_is_stopped_is_named_and_ends_the_run_with_status_1() {
        let scratch = Scratch::new("stopped");
        let out = scratch.at("out");
        let (child, all) = begun(4, &out, "--timeout 6");
        signal("-STOP", all[2].1);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Whoever is still stopped when the launcher has gone is nobody's any more.
        let _ = Command::new("kill").args(["-KILL", &all[2].1.to_string()]).stderr(Stdio::null()).status();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("rank 2 has not answered"), "{said}");
        for other in ["rank 0 has not", "rank 1 has not", "rank 3 has not"] {
            assert!(!said.contains(other), "{said}");
        }
    }

    #[test]
    fn a_process_that_is_killed_leaves_a_whole_checkpoint_and_others_may_go_on() {
        let scratch = Scratch::new("killed-process");
        let out = scratch.at("out");
        let (child, all) = begun(4, &out, "--timeout 6");
        signal("-KILL", all[1].1);
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let steps = |out: &str| {
            let latest = std::fs::read_to_string(Path::new(out).join("checkpoint/latest")).unwrap();
            let manifest = Path::new(out).join("checkpoint").join(latest.trim()).join("manifest.json");
            let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
            (manifest["step"].as_u64().unwrap(), manifest["ranks"].as_u64().unwrap())
        };
        let (before, ranks) = steps(&out);
        assert_eq!(ranks, 4);
        // The run is long: three processes go on with it until they are told to stop.
        let mut child = mpirun(3, &format!("run --resume {out} --quiet")).stdout(Stdio::null()).spawn().unwrap();
        while steps(&out).1 != 3 {
            assert!(child.try_wait().unwrap().is_none(), "the resumed run ended at once");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(steps(&out).0 > before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
