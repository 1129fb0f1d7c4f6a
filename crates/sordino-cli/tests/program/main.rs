//! The program as its users meet it: arguments in; files, tables and exit statuses out.

mod claims;
mod federated;
mod launched;
mod naive;
mod refusals;
mod resume;
mod runs;
mod zeroth;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of a test's own, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sordino-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordino"));
    command.args(arguments);
    command
}

fn sordino(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What a command that must succeed prints.
fn prints(arguments: &[&str]) -> String {
    let output = sordino(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A command that must be refused: its exit status and sentence.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = sordino(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn summary(folder: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(Path::new(folder).join("summary.json")).unwrap()).unwrap()
}

fn bytes(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(Path::new(folder).join(file)).unwrap()
}

/// The words of a sentence split at blanks, as arguments.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
