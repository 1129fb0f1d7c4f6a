//! What a run leaves on disk: `record.jsonl` with a point a line, `record.csv` beside it, `summary.json`, `recipe.toml`.

mod flows;
mod journal;
mod point;
mod run;
mod summary;

pub use flows::{FlowRow, flows_of, ledger_of};
pub use journal::{Journal, RECORD, TABLE, read_points};
pub use point::Point;
pub use run::{RECIPE, Run};
pub use summary::{Before, SUMMARY, Summary};

/// Numbers that JSON cannot say: NaN and the infinities are written as null, and null is read as NaN.
mod number {
    use serde::{Deserialize, Deserializer};

    pub fn or_nan<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(input)?.unwrap_or(f64::NAN))
    }

    pub fn nan() -> f64 {
        f64::NAN
    }
}
