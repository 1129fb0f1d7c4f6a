//! Vectors that come from Python and go there.

use std::convert::Infallible;

use numpy::{PyArray1, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use pyo3::{type_hint_identifier, type_hint_subscript};

use crate::errors::refused;

/// A flat f32 array as it will be read; `what` is what errors call it.
pub fn flat<'py>(what: &str, x: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray1<'py, f32>> {
    x.extract::<PyReadonlyArray1<'py, f32>>().map_err(|_| {
        let came = match x.cast::<PyUntypedArray>() {
            Ok(array) => format!("one of {} and shape {:?}", array.dtype(), array.shape()),
            Err(_) => format!("a {}", x.get_type()),
        };
        let cure = "numpy.ascontiguousarray(x, dtype=numpy.float32).ravel() makes one";
        refused(x.py(), format!("{what} must be a flat float32 array, but {came} came; {cure}"))
    })
}

/// A flat f32 array, copied.
pub fn copied(what: &str, x: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let array = flat(what, x)?;
    // Strided arrays have no slice.
    Ok(array.as_slice().map_or_else(|_| array.as_array().iter().copied().collect(), <[f32]>::to_vec))
}

/// Copies a flat f32 array over a vector that is as long.
pub fn copy_into(what: &str, x: &Bound<'_, PyAny>, out: &mut [f32]) -> PyResult<()> {
    let array = flat(what, x)?;
    if array.len() != out.len() {
        let (came, wanted) = (array.len(), out.len());
        let sentence = format!("{what} must have {wanted} entries, {came} came: it must be of the session's model");
        return Err(refused(x.py(), sentence));
    }
    match array.as_slice() {
        Ok(slice) => out.copy_from_slice(slice),
        Err(_) => out.iter_mut().zip(array.as_array()).for_each(|(a, b)| *a = *b),
    }
    Ok(())
}

/// A vector on its way to Python, where it is a flat float32 array.
pub struct Vector(pub Vec<f32>);

impl<'py> IntoPyObject<'py> for Vector {
    type Target = PyArray1<f32>;
    type Output = Bound<'py, PyArray1<f32>>;
    type Error = Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("numpy.typing", "NDArray"),
        type_hint_identifier!("numpy", "float32")
    );

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        Ok(PyArray1::from_vec(py, self.0))
    }
}

/// Appends what is like bytes: bytes, bytearray, memoryview, an array of uint8.
pub fn bytes_into(x: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(bytes) = x.cast::<PyBytes>() {
        into.extend_from_slice(bytes.as_bytes());
    } else if let Ok(array) = x.extract::<PyReadonlyArray1<'_, u8>>() {
        into.extend(array.as_array());
    } else if let Ok(bytes) = x.cast::<PyByteArray>() {
        into.extend(bytes.to_vec());
    } else {
        // A number would be taken for a length.
        if x.is_instance_of::<pyo3::types::PyInt>() {
            return Err(refused(x.py(), format!("bytes were expected, but the number {x} came")));
        }
        let copy = x.py().get_type::<PyBytes>().call1((x,))?;
        into.extend_from_slice(copy.cast::<PyBytes>()?.as_bytes());
    }
    Ok(())
}
