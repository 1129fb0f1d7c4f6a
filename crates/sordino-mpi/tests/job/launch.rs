//! Starts jobs with the launcher of the MPI that this program is linked with.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The environment variable that names what a rank plays.
pub const ACT: &str = "SORDINO_MPI_ACT";
/// The one that names the folder where ranks write.
const OUT: &str = "SORDINO_MPI_OUT";

/// Jobs one at a time: ranks that share cores with another job's say nothing about deadlines.
static STAGE: Mutex<()> = Mutex::new(());

/// What this rank plays, in a job.
pub fn act() -> Option<String> {
    std::env::var(ACT).ok()
}

/// Where this rank writes.
pub fn out() -> PathBuf {
    PathBuf::from(std::env::var_os(OUT).unwrap_or_default())
}

/// How a job ended.
#[derive(Debug)]
pub struct Ended {
    /// The launcher's exit status, none if a signal or the tests' own patience ended it.
    pub status: Option<i32>,
    /// What the ranks and the launcher said.
    pub stderr: String,
}

/// The launcher, without the number of ranks and what they run.
pub fn launcher() -> Command {
    let version = mpi::environment::library_version().unwrap();
    let open = version.contains("Open MPI");
    let names = if open { ["mpirun.openmpi", "mpirun"] } else { ["mpiexec.mpich", "mpiexec"] };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let name = names.into_iter().find(found).unwrap_or_else(|| panic!("no {names:?} beside the library of {version}"));
    let mut command = Command::new(name);
    if open {
        command.arg("--oversubscribe").env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // Large words then come in parts, as from another machine, and not at once out of their sender's memory.
        command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    }
    command
}

/// Plays an act on so many ranks, which write to `folder`.
pub fn play(act: &str, ranks: usize, folder: &Path) -> Ended {
    let _stage = STAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut job = launcher()
        .args(["-n", &ranks.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["rank", "--exact", "--ignored", "--nocapture"])
        .env(ACT, act)
        .env(OUT, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = job.stderr.take().unwrap();
    let heard = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = wait(&mut job);
    Ended { status, stderr: heard.join().unwrap() }
}

/// A job that does not end is ended.
fn wait(job: &mut Child) -> Option<i32> {
    let until = Instant::now() + Duration::from_secs(90);
    while Instant::now() < until {
        if let Some(status) = job.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Asked to end, a launcher ends its ranks first.
    let _ = Command::new("kill").arg(job.id().to_string()).status();
    std::thread::sleep(Duration::from_secs(2));
    let _ = job.kill();
    let _ = job.wait();
    None
}

/// A fresh folder for what ranks write.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
