//! The privacy accountant, held to Google's dp-accounting.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Failure, built_example, root, target};

/// What a machine needs beyond Rust for this step, and how to come by it.
const NEEDED: &str = "the comparison with dp-accounting needs Python 3.11 or newer as `python3` with `venv` and `pip`, \
                      and PyPI within reach: install them (on Debian `apt-get install python3 python3-venv`), then run \
                      `cargo xtask accounting` again";

/// Compares what the example `accounting`, already built, prints with what dp-accounting says, to 1e-3.
pub fn compare() -> Result<(), Failure> {
    let script = root().join("crates/sordino/tests/accounting/compare.py");
    let python = environment(&script.with_file_name("requirements.txt"))?;
    eprintln!("== accounting against dp-accounting");
    let table = target().join("accounting").join("epsilons.txt");
    let output = File::create(&table).map_err(|e| format!("{} cannot be written: {e}", table.display()))?;
    let mut example = Command::new(built_example("accounting"));
    succeed(example.stdout(output), "the example `accounting` failed")?;
    let input = File::open(&table).map_err(|e| format!("{} cannot be read: {e}", table.display()))?;
    let failed = "epsilons differ from dp-accounting's by more than the table above allows";
    succeed(Command::new(python).arg(&script).stdin(input).stdout(Stdio::inherit()), failed)
}

/// The Python of a virtual environment that has what `requirements` lists; made once, kept in the target directory,
/// made again when the list changes.
fn environment(requirements: &Path) -> Result<PathBuf, Failure> {
    let wanted =
        fs::read_to_string(requirements).map_err(|e| format!("{} cannot be read: {e}", requirements.display()))?;
    let folder = target().join("accounting").join("python");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python3" });
    // Written last, so that an installation cut short is no installation.
    let installed = folder.join("installed.txt");
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    eprintln!("== python: {} into {}", wanted.split_whitespace().collect::<Vec<_>>().join(" "), folder.display());
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), NEEDED)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    succeed(&mut pip, NEEDED)?;
    fs::write(&installed, wanted).map_err(|e| format!("{} cannot be written: {e}", installed.display()))?;
    Ok(python)
}

/// Runs a command; if it does not start or does not succeed, that is the failure.
fn succeed(command: &mut Command, failure: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{failure} ({status})")),
        Err(e) => Err(format!("{failure} ({} does not start: {e})", command.get_program().display())),
    }
}
