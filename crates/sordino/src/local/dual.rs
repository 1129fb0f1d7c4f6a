//! Dual: coordinate ascent on the dual variables of a worker's own rows, against what the others are doing.
//!
//! # What it does
//! Picks one of its rows after another and moves that row's variable to the best there is, while it takes σ' times its
//! own moves for what all workers together will have moved the model by.
//!
//! # The step
//! ```text
//! start         v ← where the silent steps begin ;  C = 1/(l2·n)
//! H times       a row i of the shard, all alike ;  β⁺ = the best for i at v, with curvature σ'C‖xᵢ‖²
//!               squared loss:  δ = (y − β − x·v)/(1 + σ'C‖x‖²)
//!               β ← β⁺ ;  v ← v + σ'Cδx ;  D ← D − Cδx
//! then          β ← β_old + γ(β − β_old) ;   offer D
//! everybody     w ← w − γ Σ D
//! ```
//! # Contract
//! σ' = γK is the aggregator's gain, γ a Kth of it: `mean` has γ = 1/K, σ' = 1 (CoCoA), `sum(γ)` what it says (CoCoA+ at
//! γ = 1). A step is one row: a round of H silent steps picks H rows, by the stream of (seed, client, step), with
//! replacement, whatever `local.batch` other methods have. The optimizer and its rate move nothing. D is not scaled by γ,
//! β is, once, after the last step: so w = C Σ βᵢxᵢ after every round over a code that loses nothing, and with
//! `feedback=residual` this of the model and what is still owed. The point is left at v, which is no model. β belongs
//! to the client: it is checked out and put back with it. A certificate sums the slack of own rows over n; all together
//! they are the duality gap.
//!
//! # When it helps, when it hurts
//! Linear models with l2, many rows and few bytes: no rate to tune, much work between meetings, and a gap that says when
//! to stop. Adding (γ = 1) wants σ' = K in the curvature, or moves overshoot; averaging is safe and slow for many
//! workers. With a selecting code set `feedback=residual(lambda=auto)`: the local view then knows what is unsaid, and the
//! dual rises in every round on our tests. With lambda=0 it overshoots where much is unsaid, and where little is it is
//! the faster one: being safe has its price.
//!
//! # Reference
//! Jaggi et al.: Communication-efficient distributed dual coordinate ascent, CoCoA (1409.1458). Ma et al.: CoCoA+
//! (1502.03508). Huo, Huang: Straggler-agnostic and communication-efficient distributed primal-dual algorithm, ACPD
//! (1910.04235).
//!
//! # Deviations from the paper
//! ACPD's code leaves σ' out of the curvature, which has no guarantee where σ' > 1: `curvature=code` does as it does.

use std::collections::BTreeMap;

use super::{Certificate, Ground, Local, Spent};
use crate::base::{Error, Former, Layout, Result, State, Stream, Use};
use crate::workload::{Duals, Workload};

/// The name of the dual variables among what a client remembers.
const DUALS: &str = "duals";
/// The name of the numbers of their rows.
const ROWS: &str = "rows";

/// Coordinate ascent.
#[derive(Clone, Debug, Default)]
pub struct Dual {
    /// Whether σ' is left out of the curvature.
    code: bool,
    /// β of the client's rows, empty where all are 0.
    duals: Vec<f32>,
    /// The numbers of the rows among all, and whose they are.
    rows: Vec<u64>,
    of: Option<u64>,
    before: Vec<f32>,
}

impl Dual {
    /// With σ' in the curvature, or, as in the code of ACPD, without.
    pub fn new(code: bool) -> Self {
        Self { code, ..Self::default() }
    }
}

/// The dual of a problem that has one, with its C.
fn dual_of(workload: &mut dyn Workload) -> Result<(&mut dyn Duals, f64)> {
    let duals = workload.duals().ok_or_else(|| {
        Error::request(
            "`local=dual` ascends the dual of a linear model, and this problem shows none; use a task that does, such as \
             made-ridge or mushrooms-ridge, or local=descent",
        )
    })?;
    let strength = duals.l2() * duals.total() as f64;
    if strength > 0.0 {
        return Ok((duals, 1.0 / strength));
    }
    Err(Error::request("`local=dual` divides by the weight of the regulariser, and it is 0; set task.l2 above 0"))
}

impl Local for Dual {
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        _: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent> {
        let (duals, scale) = dual_of(ground.workload)?;
        let rows = duals.hold(ground.seed, ground.client)?;
        let (sigma, gamma) = (ground.gain, ground.gain / ground.voices.max(1) as f64);
        let sharp = if self.code { 1.0 } else { sigma };
        if !self.duals.is_empty() && self.duals.len() != rows {
            return Err(Error::mismatch(format!(
                "client {} remembers {} dual variables and holds {rows} rows: the data or the partition changed",
                ground.client,
                self.duals.len()
            )));
        }
        if self.of != Some(ground.client) {
            self.rows = (0..rows).map(|i| duals.row(i)).collect();
            self.of = Some(ground.client);
        }
        self.duals.resize(rows, 0.0);
        self.before.clone_from(&self.duals);
        offer.fill(0.0);
        let mut loss = 0.0;
        for i in 0..steps {
            let mut stream = Stream::new(ground.seed, Use::Batch, ground.client, ground.draw + i);
            let at = stream.below(rows as u64) as usize;
            let row = duals.held(at);
            let (label, old, here) = (f64::from(row.label), f64::from(self.duals[at]), row.dot(point));
            // φ*(0) = 0, so this is the row's loss; the regulariser would take a pass over the model.
            loss += duals.slack(label, 0.0, here);
            let new = duals.ascend(label, old, here, sharp * scale * row.squared_norm()) as f32;
            // What the variable moved by as it is kept, so that the model follows it to the last bit it can.
            let moved = scale * (f64::from(new) - old);
            self.duals[at] = new;
            for (c, x) in row.columns.iter().zip(row.values) {
                let by = moved * f64::from(*x);
                point[*c as usize] += (sigma * by) as f32;
                offer[*c as usize] -= by as f32;
            }
        }
        if gamma != 1.0 {
            for (new, old) in self.duals.iter_mut().zip(&self.before) {
                *new = (f64::from(*old) + gamma * (f64::from(*new) - f64::from(*old))) as f32;
            }
        }
        Ok(Spent { loss: loss / steps.max(1) as f64, ..Spent::default() })
    }

    fn suits(&self, workload: &mut dyn Workload) -> Result<()> {
        dual_of(workload).map(|_| ())
    }

    fn ahead(&self, gain: f64) -> f64 {
        gain
    }

    fn certificate(
        &self,
        workload: &mut dyn Workload,
        seed: u64,
        client: u64,
        model: &[f32],
    ) -> Result<Option<Certificate>> {
        let (duals, _) = dual_of(workload)?;
        let (rows, mut slack) = (duals.hold(seed, client)?, 0.0);
        for i in 0..rows {
            let row = duals.held(i);
            let dual = self.duals.get(i).copied().map_or(0.0, f64::from);
            slack += duals.slack(f64::from(row.label), dual, row.dot(model));
        }
        Ok(Some(Certificate { slack: slack / duals.total() as f64, l2: duals.l2() }))
    }

    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![(DUALS, &mut self.duals)]
    }

    fn save(&mut self, state: &mut State) -> Result<()> {
        if !self.duals.is_empty() {
            state.put(DUALS, &self.duals);
            state.put_numbers(ROWS, &self.rows);
        }
        Ok(())
    }

    fn load(&mut self, state: &State, _: &Layout) -> Result<()> {
        self.duals.clear();
        self.duals.extend(state.vectors.get(DUALS).into_iter().flatten());
        self.rows.clear();
        self.rows.extend(state.numbers.get(ROWS).into_iter().flatten());
        self.of = None;
        Ok(())
    }

    /// Every row keeps its variable, whoever holds it now.
    fn deal(&mut self, former: &Former, workload: &mut dyn Workload, seed: u64, client: u64) -> Result<State> {
        let (mut known, mut state) = (BTreeMap::new(), State::default());
        for theirs in former.each() {
            let duals = theirs.vectors.get(DUALS).map_or(&[][..], |duals| &duals[..]);
            let rows = theirs.numbers.get(ROWS).map_or(&[][..], |rows| &rows[..]);
            if rows.len() != duals.len() {
                return Err(Error::mismatch(
                    "the checkpoint does not say whose rows its dual variables are (`local=dual`), so they cannot be dealt to \
                     another number of workers; resume with as many as it is of",
                ));
            }
            known.extend(rows.iter().copied().zip(duals.iter().copied()));
        }
        if !known.is_empty() {
            let (duals, _) = dual_of(workload)?;
            let rows: Vec<u64> = (0..duals.hold(seed, client)?).map(|i| duals.row(i)).collect();
            state.put_numbers(ROWS, &rows);
            state.put(DUALS, &rows.iter().map(|row| known.get(row).copied().unwrap_or(0.0)).collect::<Vec<_>>());
        }
        Ok(state)
    }
}
