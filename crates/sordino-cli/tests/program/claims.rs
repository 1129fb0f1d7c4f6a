//! `sordino claims`.

use super::{Scratch, prints, refused, words};

#[test]
fn a_claim_is_measured_told_and_drawn() {
    let scratch = Scratch::new("claims");
    let out = scratch.at("out");
    let said = prints(&words(&format!("claims parallel-clip --quiet --out {out}")));
    for part in ["parallel-clip: holds", "✓", "2205.05040", "1 hold, 0 do not hold", "report.html"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(format!("{out}/report.html")).unwrap();
    assert!(page.contains("\"chapters\"") && page.contains("unclipped at 0.003"));
    let text = std::fs::read_to_string(format!("{out}/claims.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(kept["claims"][0]["arms"][0]["searched"].as_array().unwrap().len(), 9);
    // What was measured is not written over.
    let (status, said) = refused(&words(&format!("claims parallel-clip --quiet --out {out}")));
    assert!(status == 2 && said.contains("is taken"), "{said}");
}

#[test]
fn a_claim_of_ones_own_is_a_file() {
    let scratch = Scratch::new("own-claim");
    let (file, out) = (scratch.at("mine.toml"), scratch.at("out"));
    let claim = |condition: &str| {
        format!(
            "row = \"local-sgd\"\nclaim = \"Eight steps between meetings take an eighth of the rounds.\"\nsource = \"none\"\n\
             [problem]\ntask = \"quadratic\"\nsteps = 64\n[[arm]]\nname = \"local\"\nrecipe = \"local-sgd\"\n\
             [[arm]]\nname = \"sync\"\nrecipe = \"sync-sgd\"\n[[expect]]\nsays = \"an eighth\"\nfigure = \"rounds\"\n\
             arm = \"local\"\n{condition}\n"
        )
    };
    std::fs::write(&file, claim("at_most = \"sync\"\ntimes = 0.125")).unwrap();
    let said = prints(&["claims", &file, "--json", "--quiet", "--out", &out]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["claims"][0]["verdict"], "holds", "{said}");
    std::fs::write(&file, claim("at_most = \"sync\"\ntimes = 0.1")).unwrap();
    let said = prints(&["claims", &file, "--quiet", "--out", &scratch.at("again")]);
    assert!(said.contains("local-sgd: does not hold"), "{said}");
    std::fs::write(&file, claim("at_most = \"nobody\"")).unwrap();
    let (status, said) = refused(&["claims", &file, "--quiet", "--out", &scratch.at("never")]);
    assert!(status == 2 && said.contains("no arm `nobody`"), "{said}");
}
