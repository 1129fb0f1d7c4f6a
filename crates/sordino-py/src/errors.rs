//! The library's errors as Python's: one class a kind, the sentence unchanged.
//!
//! The classes are Python's own (`sordino.errors`), because some of them are also `ValueError` or `TimeoutError`.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use sordino::base::Kind;
use sordino::{Error, Result};

/// The class of a kind.
fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "RequestError",
        Kind::Data => "DataError",
        Kind::Decode => "DecodeError",
        Kind::Mismatch => "MismatchError",
        Kind::Timeout => "TimeoutError_",
        Kind::Diverged => "DivergedError",
        Kind::System => "SystemError_",
        // Kinds that this program does not know yet.
        _ => "SordinoError",
    }
}

/// The exception of an error.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let found = py.import("sordino.errors").and_then(|module| module.getattr(class(error.kind())));
    match found.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, (error.to_string(),)),
        Err(_) => PyRuntimeError::new_err(error.to_string()),
    }
}

/// A result for Python.
pub fn told<T>(py: Python<'_>, result: Result<T>) -> PyResult<T> {
    result.map_err(|error| raised(py, &error))
}

/// A wrong request.
pub fn refused(py: Python<'_>, sentence: impl Into<String>) -> PyErr {
    raised(py, &Error::request(sentence))
}

/// The kind of what a port raised: a peer that is late or gone, or anything else.
pub fn kind_of(py: Python<'_>, raised: &PyErr) -> Kind {
    use pyo3::exceptions::{PyConnectionError, PyEOFError, PyTimeoutError};
    let gone = raised.is_instance_of::<PyTimeoutError>(py)
        || raised.is_instance_of::<PyConnectionError>(py)
        || raised.is_instance_of::<PyEOFError>(py);
    if gone { Kind::Timeout } else { Kind::System }
}

/// Whether it is a failure rather than a wish to end, such as Ctrl-C.
pub fn is_failure(py: Python<'_>, raised: &PyErr) -> bool {
    raised.is_instance_of::<PyException>(py)
}
