//! The claims that come with the program.

use anyhow::Context;
use sordino::grammar::unknown;

use crate::Claim;

macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../claims/", $name, ".toml")))),*] };
}

/// Every claim's file, in the order of the named rows.
const FILES: &[(&str, &str)] = files! {
    "acpd" "async-sgd" "bingrad-b" "bingrad-pb" "celgc" "clars" "clip-gd" "clip21" "clip21-sgd2m" "cocoa" "cocoa-plus" "def"
    "delay-adaptive-sgd" "diloco" "dp-clip21" "dp-fedavg" "dp-sgd" "dsp" "ef-sgd" "ef21" "fedadam" "fedavg" "fedbuff"
    "fedmom" "fedprox" "fedyogi" "gpipe" "lamb" "lars" "local-sgd" "mixed-clip" "momentum-clip" "orq" "ouroboros"
    "parallel-clip" "picky-sgd" "pipeline-sync" "post-local-sgd" "powersgd" "press-clip21" "qsgd" "qsr" "residual-mixture"
    "saef" "scaffold" "slowmo" "sync-sgd" "terngrad" "zo-proxsaga" "zo-proxsgd" "zo-proxsvrg" "zo-seeded"
};

/// All claims, each with its file's text.
pub fn all() -> anyhow::Result<Vec<(Claim, &'static str)>> {
    FILES.iter().map(|(name, text)| read(name, text)).collect()
}

/// The claim of a row, with its file's text.
pub fn named(row: &str) -> anyhow::Result<(Claim, &'static str)> {
    let file = FILES.iter().find(|(name, _)| *name == row);
    let (name, text) = file.ok_or_else(|| unknown("method with a claim", row, FILES.iter().map(|(name, _)| *name)))?;
    read(name, text)
}

fn read(name: &str, text: &'static str) -> anyhow::Result<(Claim, &'static str)> {
    Ok((Claim::parse(text).with_context(|| format!("claims/{name}.toml"))?, text))
}

#[cfg(test)]
mod tests {
    use sordino::recipe::ROWS;

    use super::*;

    #[test]
    fn every_named_row_has_a_claim_and_a_control() {
        let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(rows, names);
        for (claim, _) in all().unwrap() {
            assert!(names.contains(&claim.row.as_str()) && claim.every_arm().count() >= 2, "{}", claim.row);
            let first = claim.every_arm().next().map(|arm| arm.recipe.clone()).unwrap_or_default();
            let by_row = claim.arms.is_empty() || first.split(' ').next() == Some(claim.row.as_str());
            assert!(by_row, "{}: the first arm is {first}", claim.row);
        }
    }
}
