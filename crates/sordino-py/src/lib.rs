//! `sordino._sordino`: thin Python classes over recipes, compressors, schedules and sessions; no logic of its own.

#![deny(unsafe_code)]
// Python's examples subscript by strings.
#![allow(clippy::doc_link_with_quotes)]

mod alone;
mod arrays;
mod codec;
mod engine;
mod errors;
#[allow(unsafe_code)]
mod lent;
mod listing;
mod port;
mod problem;
mod recipe;
mod record;
mod run;
mod schedule;
mod session;
mod told;
mod workload;

/// Sordino's compiled part; its names are also those of the package.
#[pyo3::pymodule(gil_used = true)]
mod _sordino {
    #[pymodule_export]
    use crate::codec::{Compressor, compressor};
    #[pymodule_export]
    use crate::listing::{Axis, Choice, Method, axes, explain, methods};
    #[pymodule_export]
    use crate::problem::{Problem, problem};
    #[pymodule_export]
    use crate::recipe::Recipe;
    #[pymodule_export]
    use crate::run::run;
    #[pymodule_export]
    use crate::schedule::{Schedule, schedule};
    #[pymodule_export]
    use crate::session::Session;
    #[pymodule_export]
    use crate::told::Told;
}
