//! A port that a Python object carries: anything with `rank`, `size`, `send` and `receive`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sordino::base::{Ledger, Link};
use sordino::fabric::{Port, Tag};
use sordino::{Error, Result};

use crate::arrays::bytes_into;
use crate::errors::kind_of;
use crate::lent::lend;

/// What Python raised below the library, for the caller above it.
pub enum Cause {
    /// The gradient's own exception: it goes through unchanged.
    Gradient(PyErr),
    /// The port's: the library's error is raised from it.
    Port(PyErr),
}

/// Where causes wait while the library's error travels.
#[derive(Clone, Default)]
pub struct Causes(Arc<Mutex<Option<Cause>>>);

impl Causes {
    /// Keeps the first.
    pub fn keep(&self, cause: Cause) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(cause);
    }

    /// What was kept.
    pub fn take(&self) -> Option<Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What came in, which no meter counts: each rank counts what it sends.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Ledger>>);

impl Heard {
    /// Lends the counts.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One rank's end of a fabric of the caller's own.
pub struct Talk {
    object: Py<PyAny>,
    rank: usize,
    size: usize,
    heard: Heard,
    causes: Causes,
    /// Whether the object can say what is here already.
    foresees: bool,
}

impl Talk {
    /// The port that `object` carries.
    pub fn new(object: &Bound<'_, PyAny>, heard: Heard, causes: Causes) -> PyResult<Self> {
        let number = |name: &str| object.getattr(name)?.extract::<usize>();
        let (rank, size) = (number("rank")?, number("size")?);
        if rank >= size {
            let sentence = format!("the port says that it is rank {rank} of {size}; ranks count from 0");
            return Err(crate::errors::refused(object.py(), sentence));
        }
        let foresees = object.hasattr("here")?;
        Ok(Self { object: object.clone().unbind(), rank, size, heard, causes, foresees })
    }

    /// The library's error of what the port raised, which waits for the caller.
    fn failed(&self, py: Python<'_>, doing: &str, raised: PyErr) -> Error {
        let error = Error::new(kind_of(py, &raised), format!("rank {} could not {doing}: {raised}", self.rank));
        self.causes.keep(Cause::Port(raised));
        error
    }
}

impl Port for Talk {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, _: &Tag, bytes: &[u8]) -> Result<()> {
        Python::attach(|py| {
            let sent = self.object.call_method1(py, "send", (to, PyBytes::new(py, bytes)));
            sent.map(drop).map_err(|e| self.failed(py, &format!("send to rank {to}"), e))
        })
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        Python::attach(|py| {
            let object = self.object.bind(py);
            object
                .call_method1("receive", (from,))
                .and_then(|came| bytes_into(&came, into))
                .map_err(|e| self.failed(py, &format!("receive from rank {from}"), e))
        })?;
        let (sender, receiver) = tag.parties(from, self.rank);
        let link = Link { from: sender, to: receiver, purpose: tag.purpose.clone() };
        self.heard.lock().count(&link, into.len() as u64);
        Ok(())
    }

    fn here(&mut self, from: &[usize], _: &Tag) -> Result<bool> {
        if !self.foresees {
            return Ok(false);
        }
        Python::attach(|py| {
            let here = self.object.call_method1(py, "here", (from.to_vec(),));
            here.and_then(|here| here.extract(py)).map_err(|e| self.failed(py, "look for words", e))
        })
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        Python::attach(|py| {
            let added = lend(py, vector, |array| self.object.call_method1(py, "all_reduce", (array,)));
            added.map_err(|e| self.failed(py, "add up with all ranks", e))
        })?;
        // Nobody sees an engine's messages: what comes in is what the rank before sends in a ring, as its meter counts it.
        let before = (self.rank + self.size - 1) % self.size;
        let (sender, receiver) = tag.parties(before, self.rank);
        let link = Link { from: sender, to: receiver, purpose: tag.purpose.clone() };
        for last in [before + 1, before + 2] {
            for chunk in (0..self.size).filter(|chunk| *chunk != last % self.size) {
                let (begin, end) = (vector.len() * chunk / self.size, vector.len() * (chunk + 1) / self.size);
                self.heard.lock().count(&link, 4 * (end - begin) as u64);
            }
        }
        Ok(())
    }
}
