//! One round, in the order of Algorithm 1 of every paper here.
//!
//! ```text
//! open     who speaks · feedback: share
//! enter    feedback: look ahead            one voice after another: the rank's own, or the clients it plays
//! local    silent steps
//! speak    payload · feedback: compensate · privacy · exchange
//!          silent steps of the next round, where words may be late
//! close    exchange · feedback: settle, restore · outer
//! ```

use super::told::Told;
use super::worker::Worker;
use crate::base::{Purpose, Result, flat};
use crate::exchange::broadcast;
use crate::fabric::Port;
use crate::optim::{At, Transform};
use crate::payload::Payload;
use crate::workload::Workload;

/// One round with our own local steps. `flags` are rank 0's decisions for everybody.
pub fn round(w: &mut Worker, port: &mut dyn Port, workload: &mut dyn Workload, flags: u8) -> Result<Told> {
    open(w, port)?;
    for voice in w.voices() {
        w.enter(voice)?;
        w.spend(workload)?;
        speak(w, port, flags)?;
    }
    w.meanwhile(port, workload, flags)?;
    close(w, port, flags)
}

/// Before the silent steps: how many there will be, and who speaks after them.
pub fn open(w: &mut Worker, port: &mut dyn Port) -> Result<()> {
    w.compare(port)?;
    w.decide(port)?;
    let frame = w.frame(0);
    if let Some(owed) = w.feedback.share(w.round) {
        let began = w.clock.now();
        w.average.alike(port, &Purpose::Residual, frame, owed)?;
        w.talked_since(began);
    }
    Ok(())
}

/// After the silent steps of one voice: what it found is given to the exchange.
pub fn speak(w: &mut Worker, port: &mut dyn Port, flags: u8) -> Result<()> {
    let began = w.clock.now();
    if w.payload == Payload::Parameters {
        w.offer.copy_from_slice(&w.point);
    }
    w.feedback.compensate(&mut w.offer);
    w.hide()?;
    w.speak(port, flags)?;
    if w.seats.clients {
        w.settle();
        w.leave()?;
    }
    w.talked_since(began);
    Ok(())
}

/// After the last voice: what all agreed on moves the model. Where nobody spoke nothing changes.
pub fn close(w: &mut Worker, port: &mut dyn Port, flags: u8) -> Result<Told> {
    let (began, rate) = (w.clock.now(), w.rate());
    if w.seats.voices.is_empty() {
        let flags = broadcast(port, &Purpose::Control, w.frame(flags), &mut [])?;
        return w.advance(flags, rate, began);
    }
    let told = w.agree(port, flags)?;
    if !w.seats.clients {
        w.settle();
    }
    let share = w.share();
    w.feedback.restore(&mut w.agreed, share);
    match w.payload {
        Payload::Displacement => {}
        Payload::Gradient if w.caller.is_some() => {}
        Payload::Gradient => {
            w.update.copy_from_slice(&w.agreed);
            let at = At::new(&w.model, &w.agreed, rate, w.step, &w.layout).beside(&w.heard);
            w.optimizer.chain.apply(&at, &mut w.update);
            std::mem::swap(&mut w.agreed, &mut w.update);
        }
        Payload::Parameters if w.fragments.plain() => w.model.copy_from_slice(&w.agreed),
        Payload::Parameters => w.agreed.iter_mut().zip(&w.model).for_each(|(a, x)| *a = x - *a),
    }
    if w.payload == Payload::Gradient && w.caller.is_some() && w.fragments.plain() {
        // The caller steps along it, and says where that led.
        std::mem::swap(&mut w.update, &mut w.agreed);
    } else if !(w.payload == Payload::Parameters && w.fragments.plain()) {
        w.update.copy_from_slice(&w.agreed);
        w.fragments.outer(w.round, (&w.model, &w.agreed), rate, w.step, &mut w.update);
        flat::subtract(&mut w.model, &w.update);
    }
    w.meet(port)?;
    w.advance(told, rate, began)
}
