//! The caller's model: its tensors, where it begins, and a gradient that Python tells.

use std::sync::{Arc, Mutex, PoisonError};

use numpy::PyArray1;
use pyo3::prelude::*;
use sordino::base::{Kind, Layout};
use sordino::workload::{Batch, Draw, Metrics, Split, Start, Workload};
use sordino::{Error, Result};

use crate::arrays::copy_into;
use crate::port::{Cause, Causes};

/// The callback that tells gradients, lent to the workload for the time of a call.
#[derive(Clone, Default)]
pub struct Gradient(Arc<Mutex<Option<Py<PyAny>>>>);

impl Gradient {
    /// Lends a callback, or takes it back.
    pub fn lend(&self, callback: Option<Py<PyAny>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    fn lent(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|callback| callback.clone_ref(py))
    }
}

/// A model that the caller knows and this library does not.
pub struct Given {
    /// Its tensors.
    pub layout: Layout,
    /// Where it begins.
    pub start: Start,
    /// Rows of every client; 1 for those beyond.
    pub rows: Vec<usize>,
    /// Who tells gradients.
    pub told: Gradient,
    /// Where exceptions wait.
    pub causes: Causes,
}

/// The loss, and the gradient in `out`, as the callback tells them.
fn call(
    callback: &Bound<'_, PyAny>,
    parameters: &[f32],
    buffers: &mut [f32],
    draw: &Draw,
    out: &mut [f32],
) -> PyResult<f64> {
    let py = callback.py();
    let (at, room) = (PyArray1::from_slice(py, parameters), PyArray1::<f32>::zeros(py, out.len(), false));
    let loss = if buffers.is_empty() {
        callback.call1((at, draw.step, draw.client, &room))?
    } else {
        let kept = PyArray1::from_slice(py, buffers);
        let loss = callback.call1((at, draw.step, draw.client, &room, &kept))?;
        copy_into("`buffers`", kept.as_any(), buffers)?;
        loss
    };
    copy_into("`out`", room.as_any(), out)?;
    loss.extract()
}

impl Workload for Given {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        self.start.clone()
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.get(client as usize).copied().unwrap_or(1)
    }

    fn gradient(&mut self, parameters: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        if let Batch::Row(_) = draw.batch {
            return Err(Error::request(
                "a gradient that Python tells is that of a step, and `local.estimate` asks for single rows; \
                 use local.estimate=plain",
            ));
        }
        Python::attach(|py| {
            let Some(callback) = self.told.lent(py) else {
                return Err(Error::request("a gradient is asked for and nobody tells one; pass a function `gradient`"));
            };
            call(callback.bind(py), parameters, buffers, draw, gradient).map_err(|raised| {
                let error = Error::new(Kind::System, format!("the gradient failed: {raised}"));
                self.causes.keep(Cause::Gradient(raised));
                error
            })
        })
    }

    fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
        Ok(None)
    }
}
