//! What the papers claim, held against what is measured here.
//!
//! Every named row has a file in `claims/`: one sentence, a problem, the row and its controls ("arms"), the search that all of
//! them get, the budget, and what must be true for the claim to hold. A file is written before its first run; [`measure`]
//! makes the runs and judges.
//!
//! # The step
//! ```text
//! search    every arm at every point of the grid, on a seed of its own; the best point by one figure
//! measure   every arm at its best point, on at least three other seeds
//! judge     premises: do the controls show what the claim is about?    else: cannot be judged at this size
//!           conditions: true of the mean, and of every seed?           holds, or does not hold
//! ```

#![forbid(unsafe_code)]

mod claim;
mod coding;
mod figure;
mod files;
mod judge;
mod measure;
mod outcome;
mod work;

pub use claim::{Arm, Claim, Problem};
pub use figure::Figure;
pub use files::{all, named};
pub use judge::{Condition, Verdict};
pub use measure::{Measured, measure};
pub use outcome::{Found, Judged, Outcome, Tally, hash};
pub use work::{Silent, Watch};
