//! The claims that take seconds are measured; what the documents say of all is what these files were measured at.

use sordino_claims::{Silent, Tally, Verdict, all, hash, measure, named};

/// What the documents are written from.
fn kept() -> Tally {
    serde_json::from_str(include_str!("../../../docs/claims.json")).unwrap()
}

#[test]
fn the_documents_are_of_these_claims() {
    let kept = kept();
    let all = all().unwrap();
    assert_eq!(kept.claims.len(), all.len(), "measure them with `cargo xtask claims`");
    for ((claim, text), outcome) in all.iter().zip(&kept.claims) {
        assert_eq!(claim.row, outcome.row);
        assert_eq!(hash(text), outcome.file, "{0} has changed: `cargo xtask claims {0}`", claim.row);
    }
    let unjudged = kept.claims.iter().filter(|claim| claim.verdict == Verdict::Cannot).count();
    assert!(unjudged <= 4, "{unjudged} claims cannot be judged at this size");
}

#[test]
fn what_is_fast_comes_out_as_it_did() {
    let kept = kept();
    let mut measured = 0;
    for (claim, text) in all().unwrap().iter().filter(|(claim, _)| claim.fast) {
        let now = measure(claim, text, &Silent).unwrap().unwrap().outcome;
        let was = kept.claims.iter().find(|outcome| outcome.row == claim.row).unwrap();
        let told: Vec<&str> = now.premises.iter().chain(&now.expects).map(|judged| judged.means.as_str()).collect();
        assert_eq!(now.verdict, was.verdict, "{}: {told:#?}", claim.row);
        measured += 1;
    }
    assert!(measured >= 8, "{measured}");
}

/// The harness must be able to say no: a claim whose row and control have changed places does not hold.
#[test]
fn a_claim_turned_round_does_not_hold() {
    let (mut claim, text) = named("parallel-clip").unwrap();
    let turned: Vec<String> = claim.arms.iter().map(|arm| arm.recipe.clone()).collect();
    let places = [1, 0];
    for (at, from) in places.into_iter().enumerate() {
        claim.arms[at].recipe.clone_from(&turned[from]);
    }
    let outcome = measure(&claim, text, &Silent).unwrap().unwrap().outcome;
    assert_eq!(outcome.verdict, Verdict::DoesNot, "{:#?}", outcome.expects);
}

#[test]
fn a_claim_is_the_same_again() {
    let (claim, text) = named("celgc").unwrap();
    let of = || measure(&claim, text, &Silent).unwrap().unwrap().outcome.arms;
    assert_eq!(of(), of());
}
