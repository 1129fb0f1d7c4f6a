//! SCAFFOLD: local steps along gradients that control variates correct for what clients differ in.
//!
//! # What it does
//! Takes from every local gradient what is peculiar to this client and adds what is common to all.
//!
//! # The step
//! ```text
//! S times:   y ← y − u,  u = optim(∇f_k(y; ξ) − c_k + c) ;  D ← D + u
//! then       c_k⁺ = c_k − c + D/Σₛηₛ ;   offer D, and beside it Δ = c_k⁺ − c_k ;  c_k ← c_k⁺
//! everybody  c ← c + (|S|/N)·mean Δ
//! ```
//! # Contract
//! Option II of the paper. c_k belongs to the client and is checked out and put back with it; c is the same on every
//! rank; both start at 0, so that c is the mean of all c_k after every round. Δ travels dense as the aside `control`,
//! and c comes down with the model: twice the bytes of federated averaging each way. Σₛηₛ is the sum of the rates of
//! the steps: D/Σₛηₛ is the mean gradient along the way where the optimizer is SGD without momentum, which it must be.
//!
//! # When it helps, when it hurts
//! Clients with unlike data that make many local steps: the fixed point is the minimum of the mean, where federated
//! averaging stops beside it. Clients that are asked rarely correct by old variates.
//!
//! # Reference
//! Karimireddy et al.: SCAFFOLD: Stochastic controlled averaging for federated learning (1910.06378).
//!
//! # Deviations from the paper
//! With an annealed rate Kη becomes the sum of rates.

use super::{Ground, Local, Spent};
use crate::base::{Aside, Former, Layout, Result, State, flat};
use crate::optim::{At, Transform};
use crate::workload::{Batch, Workload};

/// The name of the aside.
const CONTROL: &str = "control";

/// Descent with control variates.
#[derive(Clone, Debug)]
pub struct Scaffold {
    batch: Batch,
    /// The client's variate.
    mine: Vec<f32>,
    /// The mean of all.
    common: Vec<f32>,
    gradient: Vec<f32>,
    update: Vec<f32>,
}

impl Scaffold {
    /// On mini-batches of `batch`.
    pub fn new(batch: Batch) -> Self {
        Self { batch, mine: Vec::new(), common: Vec::new(), gradient: Vec::new(), update: Vec::new() }
    }
}

impl Local for Scaffold {
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        buffers: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent> {
        for vector in [&mut self.gradient, &mut self.mine, &mut self.common] {
            vector.resize(point.len(), 0.0);
        }
        let (mut loss, mut rates) = (0.0, 0.0);
        offer.fill(0.0);
        for i in 0..steps {
            let draw = ground.draws(i, self.batch);
            loss += ground.workload.gradient(point, buffers, &draw, &mut self.gradient)?;
            for ((g, mine), common) in self.gradient.iter_mut().zip(&self.mine).zip(&self.common) {
                *g = *g - mine + common;
            }
            let step = ground.at(i, steps);
            let rate = ground.optimizer.anneal.rate(step);
            rates += rate;
            self.update.clear();
            self.update.extend_from_slice(&self.gradient);
            let at = At::new(point, &self.gradient, rate, step, ground.layout);
            ground.optimizer.chain.apply(&at, &mut self.update);
            flat::subtract(point, &self.update);
            flat::add(offer, &self.update);
        }
        // Without a rate nothing was learnt about the gradients, and the variate stays.
        let mut change = Aside::zeros(CONTROL, point.len());
        if rates > 0.0 {
            for (((c, mine), common), d) in change.values.iter_mut().zip(&mut self.mine).zip(&self.common).zip(&*offer)
            {
                *c = d / rates as f32 - common;
                *mine += *c;
            }
        }
        Ok(Spent {
            loss: loss / steps as f64,
            clipped: ground.optimizer.chain.clipped_steps(),
            clipped_rows: ground.workload.clipped_rows(),
            asides: vec![change],
        })
    }

    fn asides(&self, workload: &dyn Workload) -> Vec<Aside> {
        vec![Aside::zeros(CONTROL, workload.layout().len())]
    }

    fn agree(&mut self, asides: &[Aside], share: f32) {
        let Some(change) = asides.iter().find(|aside| aside.name == CONTROL) else { return };
        self.common.resize(change.values.len(), 0.0);
        flat::add_scaled(&mut self.common, share, &change.values);
    }

    fn told(&self) -> Vec<(&'static str, &[f32])> {
        if self.common.is_empty() { Vec::new() } else { vec![(CONTROL, &self.common)] }
    }

    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![(CONTROL, &mut self.mine)]
    }

    fn save(&mut self, state: &mut State) -> Result<()> {
        for (name, vector) in [("mine", &self.mine), ("common", &self.common)] {
            if !vector.is_empty() {
                state.put(name, vector);
            }
        }
        Ok(())
    }

    fn load(&mut self, state: &State, _: &Layout) -> Result<()> {
        for (name, vector) in [("mine", &mut self.mine), ("common", &mut self.common)] {
            vector.clear();
            vector.extend(state.vectors.get(name).into_iter().flatten());
        }
        Ok(())
    }

    /// The mean of the variates stays the common one.
    fn deal(&mut self, former: &Former, _: &mut dyn Workload, _: u64, _: u64) -> Result<State> {
        let mut state = former.same_but(&["mine"])?;
        former.put_mean("mine", 1.0, &mut state)?;
        Ok(state)
    }
}
