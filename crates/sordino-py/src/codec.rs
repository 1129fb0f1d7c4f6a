//! Compressors by themselves.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sordino::base::wire::SEAL;
use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer, flat};
use sordino::compress;
use sordino::grammar::{Element, Listing};
use sordino::{Error, Result};

use crate::alone::Alone;
use crate::arrays::{Vector, bytes_into, copied};
use crate::errors::{refused, told};

/// A tensor as a list of them names it.
pub fn role(py: Python<'_>, name: &str) -> PyResult<Role> {
    match name {
        "weight" => Ok(Role::Weight),
        "bias" => Ok(Role::Bias),
        "norm" => Ok(Role::Norm),
        "buffer" => Ok(Role::Buffer),
        other => Err(refused(py, format!("a tensor's role is weight, bias, norm or buffer, but {other:?} came"))),
    }
}

/// A vector as few bytes, and back.
///
/// >>> import numpy, sordino
/// >>> orq = sordino.compressor("orq(9)")
/// >>> x = numpy.random.default_rng(0).standard_normal(10_000, dtype=numpy.float32)
/// >>> message = orq.encode(x)
/// >>> len(message) < x.nbytes / 9
/// True
/// >>> said = orq.decode(message, x.size)
/// >>> bool(numpy.linalg.norm(x - said) < 0.3 * numpy.linalg.norm(x))
/// True
/// >>> orq.decode(message[:-1], x.size)
/// Traceback (most recent call last):
///     ...
/// sordino.errors.DecodeError: ...
#[pyclass(module = "sordino")]
pub struct Compressor {
    codec: Alone<Box<dyn compress::Compressor>>,
    element: Element,
    listing: Listing,
    tensors: Option<Layout>,
}

impl Compressor {
    fn layout(&self, py: Python<'_>, entries: usize) -> PyResult<Layout> {
        match &self.tensors {
            None => Ok(Layout::vector(entries)),
            Some(layout) if layout.len() == entries => Ok(layout.clone()),
            Some(layout) => Err(refused(
                py,
                format!("a vector of {entries} entries came, but the shapes have {} in all", layout.len()),
            )),
        }
    }

    fn encoded(&mut self, x: &[f32], layout: &Layout, seed: u64, round: u64, client: u64) -> Result<Writer> {
        if !flat::is_finite(x) {
            return Err(Error::new(
                sordino::base::Kind::Diverged,
                "the vector to be encoded is not finite; look for the first NaN or infinity in what made it",
            ));
        }
        let (stream, shared) =
            (Stream::new(seed, Use::Encode, client, round), Stream::new(seed, Use::Shared, 0, round));
        let mut out = Writer::new();
        out.varint(x.len() as u64);
        self.codec.lend().encode(x, &compress::Coding { layout, stream: &stream, shared: &shared }, &mut out)?;
        out.seal(0);
        Ok(out)
    }

    fn decoded(&mut self, message: &[u8], layout: &Layout) -> Result<Vec<f32>> {
        let mut body = Reader::open(message)?;
        let came = body.varint()?;
        if came != layout.len() as u64 {
            return Err(Error::decode(format!("the message is about {came} entries, {} were expected", layout.len())));
        }
        let mut said = vec![0.0; layout.len()];
        self.codec.lend().decode(&mut body, layout, &mut said)?;
        body.done()?;
        Ok(said)
    }
}

#[pymethods]
impl Compressor {
    /// Its name and settings, as they are written.
    #[getter]
    fn name(&self) -> String {
        self.element.to_string()
    }

    /// What it does, in one sentence.
    #[getter]
    fn about(&self) -> &str {
        self.listing.about
    }

    /// Whether messages may be added up on their way, which an all-reduce needs.
    #[getter]
    fn linear(&mut self) -> bool {
        self.codec.lend().linear().is_some()
    }

    /// The most bytes that a message about so many entries has.
    fn bytes_bound(&mut self, py: Python<'_>, entries: usize) -> PyResult<usize> {
        let layout = self.layout(py, entries)?;
        let mut length = Writer::new();
        length.varint(entries as u64);
        Ok(length.bytes().len() + self.codec.lend().bound(&layout) + SEAL)
    }

    /// A message about `x`, a flat float32 array. What is random in it follows from seed, round and client; compressors
    /// that remember (PowerSGD its last subspace) do so here.
    #[pyo3(signature = (x: "numpy.typing.NDArray[numpy.float32]", *, seed=0, round=0, client=0))]
    fn encode<'py>(
        &mut self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        seed: u64,
        round: u64,
        client: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let x = copied("the vector to encode", x)?;
        let layout = self.layout(py, x.len())?;
        let message = py.detach(|| self.encoded(&x, &layout, seed, round, client));
        Ok(PyBytes::new(py, told(py, message)?.bytes()))
    }

    /// What a message says of `entries` entries.
    #[pyo3(signature = (message: "bytes | bytearray | memoryview", entries))]
    fn decode(&mut self, py: Python<'_>, message: &Bound<'_, PyAny>, entries: usize) -> PyResult<Vector> {
        let layout = self.layout(py, entries)?;
        let mut bytes = Vec::new();
        bytes_into(message, &mut bytes)?;
        let said = py.detach(|| self.decoded(&bytes, &layout));
        Ok(Vector(told(py, said)?))
    }

    fn __repr__(&self) -> String {
        format!("compressor('{}')", self.element)
    }
}

/// The compressor that `text` names, such as `topk(0.01)`. `shapes` are the tensors of the vectors, name and shape, where
/// it matters: by default a vector is one tensor with one dimension.
///
/// >>> sordino.compressor("topk(0.5)").decode(sordino.compressor("topk(0.5)").encode(
/// ...     numpy.array([0.5, -3, 1, 2], numpy.float32)), 4).tolist()
/// [0.0, -3.0, 0.0, 2.0]
/// >>> sordino.compressor("powersgd", shapes=[("w", (64, 32)), ("b", (64,))]).linear
/// True
#[pyfunction]
#[pyo3(signature = (text, *, shapes: "collections.abc.Sequence[tuple[str, collections.abc.Sequence[int]]] | None" = None))]
pub fn compressor(py: Python<'_>, text: &str, shapes: Option<Vec<(String, Vec<usize>)>>) -> PyResult<Compressor> {
    let element = told(py, Element::parse(text).and_then(|e| compress::normalise(&e)))?;
    let codec = told(py, compress::build(&element))?;
    let listing = compress::ENTRIES.iter().find(|e| e.name == element.name).map(|e| e.listing());
    let listing = listing.ok_or_else(|| refused(py, format!("there is no compressor {element}")))?;
    let tensor = |(name, shape): &(String, Vec<usize>)| {
        Tensor::new(name, shape, if shape.len() > 1 { Role::Weight } else { Role::Bias })
    };
    let tensors = shapes.map(|shapes| Layout::new(shapes.iter().map(tensor)));
    Ok(Compressor { codec: Alone::new(codec), element, listing, tensors })
}
