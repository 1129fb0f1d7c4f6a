//! One round, in the order of Algorithm 1 of every paper here.
//!
//! ```text
//! open     feedback: share, look ahead
//! local    silent steps
//! close    payload · feedback: compensate · exchange · feedback: settle, restore · outer
//! ```

use super::worker::{Told, Worker};
use crate::base::{Purpose, Result, flat};
use crate::fabric::Port;
use crate::optim::{At, Transform};
use crate::payload::Payload;
use crate::workload::Workload;

/// One round with our own local steps. `flags` are rank 0's decisions for everybody.
pub fn round(worker: &mut Worker, port: &mut dyn Port, workload: &mut dyn Workload, flags: u8) -> Result<Told> {
    let silence = open(worker, port)?;
    worker.spend(workload, silence)?;
    close(worker, port, flags)
}

/// Before the silent steps: how many there will be, and the point they begin from (`worker.point`).
pub fn open(w: &mut Worker, port: &mut dyn Port) -> Result<u64> {
    w.compare(port)?;
    w.decide_silence();
    let frame = w.frame(0);
    if let Some(owed) = w.feedback.share(w.round) {
        let began = w.clock.now();
        w.average.of(port, &Purpose::Residual, frame, owed)?;
        w.talked_since(began);
    }
    w.point.copy_from_slice(&w.model);
    w.feedback.look_ahead(&mut w.point);
    Ok(w.silence)
}

/// After them: what was found is offered, agreed on, and moves the model.
pub fn close(w: &mut Worker, port: &mut dyn Port, flags: u8) -> Result<Told> {
    let began = w.clock.now();
    if w.payload == Payload::Parameters {
        w.offer.copy_from_slice(&w.point);
    }
    w.feedback.compensate(&mut w.offer);
    let told = w.exchange(port, flags)?;
    w.feedback.settle(&w.offer, &w.said);
    w.feedback.restore(&mut w.agreed, 1.0);
    let rate = w.optimizer.anneal.rate(w.step);
    match w.payload {
        Payload::Displacement => {}
        Payload::Gradient => {
            w.update.copy_from_slice(&w.agreed);
            let at = At::new(&w.model, &w.agreed, rate, w.step, &w.layout);
            w.optimizer.chain.apply(&at, &mut w.update);
            std::mem::swap(&mut w.agreed, &mut w.update);
        }
        Payload::Parameters if w.outer.is_empty() => w.model.copy_from_slice(&w.agreed),
        Payload::Parameters => w.agreed.iter_mut().zip(&w.model).for_each(|(a, x)| *a = x - *a),
    }
    if !(w.payload == Payload::Parameters && w.outer.is_empty()) {
        w.update.copy_from_slice(&w.agreed);
        w.outer.apply(&At::new(&w.model, &w.agreed, rate, w.step, &w.layout), &mut w.update);
        flat::subtract(&mut w.model, &w.update);
    }
    w.meet(port)?;
    Ok(w.advance(told, rate, began))
}
