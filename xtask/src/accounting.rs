//! The privacy accountant, held to Google's dp-accounting.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::environment::{environment, succeed};
use crate::{Failure, built_example, root, target};

/// What a machine needs beyond Rust for this step, and how to come by it.
const NEEDED: &str = "the comparison with dp-accounting needs Python 3.11 or newer as `python3` with `venv` and `pip`, \
                      and PyPI within reach: install them (on Debian `apt-get install python3 python3-venv`), then run \
                      `cargo xtask accounting` again";

/// Compares what the example `accounting`, already built, prints with what dp-accounting says, to 1e-3.
pub fn compare() -> Result<(), Failure> {
    let script = root().join("crates/sordino/tests/accounting/compare.py");
    let python = environment("accounting", &script.with_file_name("requirements.txt"), NEEDED)?;
    eprintln!("== accounting against dp-accounting");
    let table = target().join("accounting").join("epsilons.txt");
    let output = File::create(&table).map_err(|e| format!("{} cannot be written: {e}", table.display()))?;
    let mut example = Command::new(built_example("accounting"));
    succeed(example.stdout(output), "the example `accounting` failed")?;
    let input = File::open(&table).map_err(|e| format!("{} cannot be read: {e}", table.display()))?;
    let failed = "epsilons differ from dp-accounting's by more than the table above allows";
    succeed(Command::new(python).arg(&script).stdin(input).stdout(Stdio::inherit()), failed)
}
