//! Python environments that steps need: made once, kept in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, target};

/// The Python of a virtual environment that has what `requirements` lists, in the target directory's folder `name`; made
/// again when the list changes. `needed` is what to say where that cannot be.
pub fn environment(name: &str, requirements: &Path, needed: &str) -> Result<PathBuf, Failure> {
    let wanted =
        fs::read_to_string(requirements).map_err(|e| format!("{} cannot be read: {e}", requirements.display()))?;
    let folder = target().join(name).join("python");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python3" });
    // Written last, so that an installation cut short is no installation.
    let installed = folder.join("installed.txt");
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    eprintln!("== python: {} into {}", wanted.split_whitespace().collect::<Vec<_>>().join(" "), folder.display());
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), needed)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    succeed(&mut pip, needed)?;
    fs::write(&installed, wanted).map_err(|e| format!("{} cannot be written: {e}", installed.display()))?;
    Ok(python)
}

/// Runs a command; if it does not start or does not succeed, that is the failure.
pub fn succeed(command: &mut Command, failure: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{failure} ({status})")),
        Err(e) => Err(format!("{failure} ({} does not start: {e})", command.get_program().display())),
    }
}
