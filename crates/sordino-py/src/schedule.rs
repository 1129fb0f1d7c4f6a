//! Schedules by themselves.

use pyo3::prelude::*;
use sordino::grammar::Element;
use sordino::schedule as rules;

use crate::alone::Alone;
use crate::errors::told;

/// When to speak: how many local steps of silence until the next meeting.
///
/// >>> import sordino
/// >>> qsr = sordino.schedule("qsr(base=4, alpha=0.0175)")
/// >>> [qsr.silence(rate) for rate in (0.008, 0.002, 0.001)]
/// [4, 76, 306]
#[pyclass(module = "sordino")]
pub struct Schedule {
    schedule: Alone<Box<dyn rules::Schedule>>,
    element: Element,
}

#[pymethods]
impl Schedule {
    /// Its name and settings, as they are written.
    #[getter]
    fn name(&self) -> String {
        self.element.to_string()
    }

    /// How many local steps follow at this rate. `step` is the round's first step, `previous_rate` the rate at the first
    /// step of the round before (by default the same; a rate that rises means warm-up, as `warming` does), `steps` the
    /// length of the run where it is known, `epoch` the steps of one pass over the rows.
    #[pyo3(signature = (rate, *, step=0, round=1, previous_rate=None, steps=None, warming=false, epoch=1.0))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn silence(
        &mut self,
        rate: f64,
        step: u64,
        round: u64,
        previous_rate: Option<f64>,
        steps: Option<u64>,
        warming: bool,
        epoch: f64,
    ) -> u64 {
        let previous_rate = if round == 0 { None } else { previous_rate.or(Some(rate)) };
        rules::clamped(
            &**self.schedule.lend(),
            &rules::Facts { round, step, rate, previous_rate, steps, warming, epoch },
        )
    }

    fn __repr__(&self) -> String {
        format!("schedule('{}')", self.element)
    }
}

/// The schedule that `text` names.
#[pyfunction]
pub fn schedule(py: Python<'_>, text: &str) -> PyResult<Schedule> {
    let element = told(py, Element::parse(text))?;
    // The axis puts positional arguments under their keys and knows common slips.
    let mut recipe = sordino::recipe::Recipe::default();
    told(py, recipe.choose("schedule", &element))?;
    let element = told(py, recipe.choice("schedule"))?.clone();
    Ok(Schedule { schedule: Alone::new(told(py, rules::build(&element))?), element })
}
