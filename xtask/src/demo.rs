//! The demo, held to what the README says of it, and its picture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, build, program, root};

/// Runs the demo into a folder of the target directory and returns the folder.
fn run() -> Result<PathBuf, Failure> {
    let out = root().join("target").join("demo");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| format!("{} cannot be removed: {e}", out.display()))?;
    }
    let status = program().arg("demo").arg("--out").arg(&out).current_dir(root()).status();
    let status = status.map_err(|e| format!("the program does not start: {e}"))?;
    if status.success() { Ok(out) } else { Err(format!("`sordino demo` failed ({status})")) }
}

fn summary(folder: &Path) -> Result<serde_json::Value, Failure> {
    let path = folder.join("summary.json");
    let text = fs::read_to_string(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{} is not JSON: {e}", path.display()))
}

/// The demo's promises: synchronous SGD reaches 94 %, and QSR with ORQ comes within a point of it on a twentieth of
/// its bytes.
pub fn bounds() -> Result<(), Failure> {
    let out = run()?;
    let number = |value: &serde_json::Value, key: &str| {
        value[key].as_f64().ok_or_else(|| format!("the demo's summary has no number `{key}`"))
    };
    let both = |value: &serde_json::Value| {
        Ok::<f64, Failure>(number(value, "bytes_sent_per_worker")? + number(value, "bytes_received_per_worker")?)
    };
    let sync = summary(&out.join("sync-sgd-seed0"))?;
    let orq = summary(&out.join("qsr-orq-9-seed0"))?;
    let (reference, accuracy) = (number(&sync, "accuracy")?, number(&orq, "accuracy")?);
    let fewer = both(&sync)? / both(&orq)?;
    eprintln!("demo: sync {reference:.4}, QSR+ORQ {accuracy:.4} with {fewer:.1} times fewer bytes");
    if reference < 0.94 {
        return Err(format!("synchronous SGD reached {reference:.4} in the demo, at least 0.94 is promised"));
    }
    if accuracy < reference - 0.01 || fewer < 20.0 {
        return Err(format!(
            "QSR+ORQ reached {accuracy:.4} (synchronous {reference:.4}) with {fewer:.1} times fewer bytes in the demo; \
             within 0.01 and at least 20 times are promised"
        ));
    }
    if !out.join("report.html").is_file() {
        return Err("the demo left no report.html".into());
    }
    Ok(())
}

/// The README's screenshot of the demo's report, by a Chromium on the path.
pub fn picture() -> Result<(), Failure> {
    build()?;
    let page = run()?.join("report.html");
    let picture = root().join("docs").join("report.png");
    let profile = root().join("target").join("picture");
    let status = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,1480"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .status()
        .map_err(|e| format!("`chromium` does not start ({e}); install it to make the picture"))?;
    if status.success() { Ok(()) } else { Err("chromium made no picture".into()) }
}
