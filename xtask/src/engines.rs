//! Engines: what is linked with a library of the system, and so left out of everything else. MPI, in two makes.
//!
//! Where MPI is missing and Debian's packages can be installed, they are; where they cannot, it is said what is not tested,
//! and on a machine that must test everything (the variable `CI` is set) that is a failure.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Failure, cargo, target};

/// What every other call of cargo leaves out.
pub const LEFT_OUT: [&str; 2] = ["--exclude", "sordino-mpi"];

/// Debian's packages of both makes, and of what reads their headers.
const PACKAGES: [&str; 5] = ["libopenmpi-dev", "openmpi-bin", "libmpich-dev", "mpich", "libclang-dev"];

/// A make of MPI: its compiler and its launcher, each under a name of its own or the general one, and how to know them.
struct Make {
    compilers: [&'static str; 2],
    launchers: [&'static str; 2],
    /// What a compiler is asked, and what such a one answers.
    compiles: (&'static str, &'static str),
    /// What such a launcher says of itself.
    launches: &'static str,
}

const OPEN_MPI: Make = Make {
    compilers: ["mpicc.openmpi", "mpicc"],
    launchers: ["mpirun.openmpi", "mpirun"],
    compiles: ("--showme:version", "Open MPI"),
    launches: "open-mpi.org",
};

const MPICH: Make = Make {
    compilers: ["mpicc.mpich", "mpicc"],
    launchers: ["mpiexec.mpich", "mpiexec"],
    compiles: ("-v", "MPICH"),
    launches: "HYDRA",
};

/// Of MPICH those tests that touch every part of a port; the others make no call of MPI that these do not make.
const SHORT: [&str; 3] = ["every_row", "words_arrive", "by_way_of_others"];

/// Lints and documents.
pub fn check() -> Result<(), Failure> {
    let Some(compiler) = compiler()? else { return Ok(()) };
    let with = [("MPICC", compiler)];
    cargo(&["clippy", "--release", "--package", "sordino-mpi", "--all-targets", "--", "-D", "warnings"], &with)?;
    let with = [("MPICC", compiler), ("RUSTDOCFLAGS", "-D warnings")];
    cargo(&["doc", "--release", "--package", "sordino-mpi", "--no-deps"], &with)
}

/// All tests of the workspace, with Open MPI in it where it is there: so Burn is compiled once.
pub fn workspace(left_out: &[&str]) -> Result<(), Failure> {
    let test = [&["test", "--release", "--workspace"][..], left_out].concat();
    match compiler()? {
        None => cargo(&[&test[..], &LEFT_OUT, &["--features", "sordino/testing"]].concat(), &[]),
        Some(compiler) => {
            cargo(&[&test[..], &["--features", "sordino/testing,sordino-cli/mpi"]].concat(), &[("MPICC", compiler)])
        }
    }
}

/// A short part of the tests with MPICH.
pub fn test() -> Result<(), Failure> {
    if compiler()?.is_none() {
        return Ok(());
    }
    let Some(compiler) = found(&MPICH) else {
        return missing("a build with MPICH");
    };
    // What is linked with another MPI is built elsewhere; without optimisation it is small.
    let folder = target().join("mpich");
    let folder = folder.to_string_lossy();
    let test = ["test", "--package", "sordino-mpi", "--test", "job", "--target-dir", &folder, "--"];
    cargo(&[&test[..], &SHORT].concat(), &[("MPICC", compiler)])
}

/// Mends what a machine can mend.
pub fn fix() -> Result<(), Failure> {
    let Some(compiler) = compiler()? else { return Ok(()) };
    let lints = ["clippy", "--release", "--package", "sordino-mpi", "--all-targets", "--fix", "--allow-dirty"];
    cargo(&lints, &[("MPICC", compiler)])
}

/// Open MPI's compiler, where everything that a build needs is there or can be installed.
fn compiler() -> Result<Option<&'static str>, Failure> {
    let complete = || found(&OPEN_MPI).filter(|_| found(&MPICH).is_some() && libclang());
    if complete().is_none() {
        install();
    }
    match found(&OPEN_MPI).filter(|_| libclang()) {
        Some(compiler) => Ok(Some(compiler)),
        None => missing("sordino-mpi").map(|()| None),
    }
}

/// Says what is not tested and how to get it.
fn missing(what: &str) -> Result<(), Failure> {
    let sentence = format!("{what} is not tested; it needs `apt-get install {}` or their like", PACKAGES.join(" "));
    if std::env::var_os("CI").is_some() {
        return Err(sentence);
    }
    eprintln!("== {sentence}");
    Ok(())
}

/// The compiler of a make, if its launcher is there too.
fn found(make: &Make) -> Option<&'static str> {
    let says = |name: &str, flag: &str, word: &str| {
        let output = Command::new(name).arg(flag).stdin(Stdio::null()).output();
        output.is_ok_and(|o| [o.stdout, o.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(word)))
    };
    make.launchers.iter().find(|name| says(name, "--version", make.launches))?;
    let (flag, word) = make.compiles;
    make.compilers.into_iter().find(|name| says(name, flag, word))
}

/// Whether headers can be read.
fn libclang() -> bool {
    let folders = |above: &str| std::fs::read_dir(above).into_iter().flatten().flatten().map(|entry| entry.path());
    let libraries = folders("/usr/lib").flat_map(|folder| [folder.join("lib"), folder]);
    let given = std::env::var_os("LIBCLANG_PATH").map(Into::into);
    let mut places = given.into_iter().chain(libraries).chain(["/usr/lib64".into(), "/usr/local/lib".into()]);
    places.any(|folder: std::path::PathBuf| {
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| {
            let name = name.to_string_lossy();
            name.starts_with("libclang.") || name.starts_with("libclang-") && !name.starts_with("libclang-cpp")
        })
    })
}

/// Installs Debian's packages, where this is Debian and we may.
fn install() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if !root || !Path::new("/usr/bin/apt-get").exists() {
        return;
    }
    eprintln!("== apt-get install {}", PACKAGES.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        // What did not come is missed in a moment, and then named.
        let _ = command.status();
    };
    apt(&["update", "-qq"]);
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], &PACKAGES[..]].concat());
}
