//! The Python package: its wheel, its stub and its tests.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::{environment, succeed};
use crate::{Failure, cargo, root, target};

/// What a machine needs beyond Rust for this step, and how to come by it.
const NEEDED: &str = "the Python package needs Python 3.10 or newer as `python3` with `venv` and `pip`, and PyPI within \
                      reach: install them (on Debian `apt-get install python3 python3-venv`), then run `cargo xtask \
                      python` again";

/// What stands above the stub that the compiled module tells of itself.
const HEAD: &str = "# Written by `cargo xtask gen` from the compiled module; do not edit.\n";

/// What types that are written as text name.
const IMPORTS: &str = "\nimport collections.abc\nimport numpy.typing\nimport sordino.result\nfrom ";

/// Builds the wheel into an environment of its own and runs the package's tests and documents. Where there is no Python
/// it says so and is content, but not where `CI` is set.
pub fn test() -> Result<(), Failure> {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|told| told.status.success());
    if !found && std::env::var_os("CI").is_none() {
        eprintln!("== python: there is no `python3`, so the Python package was not tested");
        return Ok(());
    }
    let package = root().join("python");
    let python = environment("sordino-python", &package.join("requirements.txt"), NEEDED)?;
    let wheel = wheel(&python, &package)?;
    compare()?;
    install(&python, &wheel)?;
    eprintln!("== pytest");
    let mut pytest = Command::new(&python);
    pytest.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--config-file"]);
    pytest.arg(package.join("pyproject.toml")).arg(package.join("tests"));
    succeed(pytest.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(target()), "tests of the Python package failed")
}

/// The wheel, built into the workspace's own target directory: what Rust's tests have compiled serves here too.
fn wheel(python: &Path, package: &Path) -> Result<PathBuf, Failure> {
    let out = target().join("sordino-python").join("wheel");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| format!("{} cannot be removed: {e}", out.display()))?;
    }
    eprintln!("== maturin build --release");
    let mut maturin = Command::new(python);
    maturin.args(["-m", "maturin", "build", "--release", "--locked", "--out"]).arg(&out);
    maturin.env("CARGO_TARGET_DIR", target()).current_dir(package);
    succeed(&mut maturin, "the wheel cannot be built")?;
    let wheels = fs::read_dir(&out).map_err(|e| format!("{} cannot be read: {e}", out.display()))?;
    let mut wheels = wheels.flatten().map(|entry| entry.path());
    wheels.find(|path| path.extension().is_some_and(|e| e == "whl")).ok_or_else(|| "maturin left no wheel".into())
}

/// Installs the wheel, unless that very one is installed.
fn install(python: &Path, wheel: &Path) -> Result<(), Failure> {
    let bytes = fs::read(wheel).map_err(|e| format!("{} cannot be read: {e}", wheel.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let (mark, hash) = (target().join("sordino-python").join("python").join("wheel.txt"), hasher.finish().to_string());
    if fs::read_to_string(&mark).is_ok_and(|found| found == hash) {
        return Ok(());
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall"]);
    succeed(pip.arg(wheel), "the wheel cannot be installed")?;
    fs::write(&mark, hash).map_err(|e| format!("{} cannot be written: {e}", mark.display()))
}

/// Where the stub lies.
fn stub() -> PathBuf {
    root().join("python").join("sordino").join("_sordino.pyi")
}

/// The stub, as the compiled module tells of itself.
fn told() -> Result<String, Failure> {
    let (before, after) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = target().join("release").join(format!("{before}_sordino{after}"));
    let module = pyo3_introspection::introspect_cdylib(&library, "_sordino")
        .map_err(|e| format!("{} tells nothing of itself: {e}", library.display()))?;
    let files = pyo3_introspection::module_stub_files(&module);
    let text = files.values().next().ok_or("the compiled module tells of nothing")?;
    Ok(format!("{HEAD}{}", text.replacen("\nfrom ", IMPORTS, 1)))
}

/// Writes the stub.
pub fn write() -> Result<(), Failure> {
    cargo(&["build", "--release", "--package", "sordino-py"], &[])?;
    let (path, text) = (stub(), told()?);
    fs::write(&path, text).map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

/// Refuses a stub that is not what the module, already built, tells of itself.
fn compare() -> Result<(), Failure> {
    if fs::read_to_string(stub()).unwrap_or_default() == told()? {
        return Ok(());
    }
    Err("python/sordino/_sordino.pyi is stale; run `cargo xtask gen`".into())
}
