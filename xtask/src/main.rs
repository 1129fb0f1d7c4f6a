//! The project's own commands: `cargo xtask test` verifies everything and writes nothing, `fix` mends what a machine
//! can mend, `gen` writes the generated documents, `picture` makes the README's screenshot, `accounting` compares the
//! privacy accountant with Google's, `claims` measures what the papers claim (all rows, or those named) and writes the
//! documents that tell it, `engines` is the part of `test` that is linked with MPI, `python` builds and tests the
//! Python package.

mod accounting;
mod demo;
mod documents;
mod engines;
mod environment;
mod python;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What went wrong, in a sentence.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("test") => test(),
        Some("check") => check(),
        Some("fix") => fix(),
        Some("gen") => generate(),
        Some("picture") => demo::picture(),
        Some("accounting") => account(),
        Some("claims") => documents::claims::measure(&arguments[1..]).and_then(|()| generate()),
        Some("engines") => engines::check().and_then(|()| engines::test()),
        Some("python") => python::test(),
        _ => Err("cargo xtask test | check | fix | gen | picture | accounting | claims | engines | python".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// An example as the tests have built it: built by itself, it would compile Burn again with other features.
fn built_example(name: &str) -> PathBuf {
    target().join("release").join("examples").join(name)
}

/// The program as it was built last: by the tests, or by [`build`].
fn program() -> Command {
    Command::new(target().join("release").join(format!("sordino{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds the program by itself.
fn build() -> Result<(), Failure> {
    cargo(&["build", "--release"], &[])
}

/// Runs cargo in the root and shows what it prints.
fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), Failure> {
    eprintln!("== cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", arguments.join(" "))) }
}

/// Form, lints and documents: everything that needs no run.
fn check() -> Result<(), Failure> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    let lints = ["clippy", "--release", "--workspace", "--all-targets", "--features", "sordino/testing"];
    cargo(&[&lints[..], &engines::LEFT_OUT, &["--", "-D", "warnings"]].concat(), &[])?;
    let documents = ["doc", "--release", "--workspace", "--no-deps"];
    cargo(&[&documents[..], &engines::LEFT_OUT].concat(), &[("RUSTDOCFLAGS", "-D warnings")])?;
    engines::check()
}

/// Everything, in one release profile, so that Burn compiles once.
fn test() -> Result<(), Failure> {
    check()?;
    engines::workspace(&[])?;
    engines::test()?;
    for example in examples()? {
        run_example(&example)?;
    }
    accounting::compare()?;
    documents::compare()?;
    python::test()?;
    demo::bounds()?;
    eprintln!("== everything passed");
    Ok(())
}

/// Mends what a machine can mend.
fn fix() -> Result<(), Failure> {
    let lints = ["clippy", "--release", "--workspace", "--all-targets", "--features", "sordino/testing"];
    cargo(&[&lints[..], &engines::LEFT_OUT, &["--fix", "--allow-dirty"]].concat(), &[])?;
    engines::fix()?;
    cargo(&["fmt", "--all"], &[])?;
    generate()
}

/// Writes what is generated: documents from the registries, the stub of the Python module from itself.
fn generate() -> Result<(), Failure> {
    documents::write()?;
    python::write()
}

/// The accountant's comparison by itself.
fn account() -> Result<(), Failure> {
    cargo(&["build", "--release", "--package", "sordino", "--example", "accounting"], &[])?;
    accounting::compare()
}

/// Runs an example.
fn run_example(name: &str) -> Result<(), Failure> {
    let path = built_example(name);
    eprintln!("== example {name}");
    let status = Command::new(&path).current_dir(root()).status();
    let status = status.map_err(|e| format!("{} does not start: {e}", path.display()))?;
    if status.success() { Ok(()) } else { Err(format!("example {name} failed")) }
}

/// Every example of every crate.
fn examples() -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let crates = std::fs::read_dir(root().join("crates")).map_err(|e| format!("crates/ cannot be read: {e}"))?;
    for package in crates.flatten() {
        for example in std::fs::read_dir(package.path().join("examples")).into_iter().flatten().flatten() {
            let name = example.file_name().to_string_lossy().into_owned();
            found.extend(name.strip_suffix(".rs").map(str::to_owned));
        }
    }
    found.sort();
    Ok(found)
}
