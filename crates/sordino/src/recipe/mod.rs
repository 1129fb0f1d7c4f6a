//! One choice per axis, checked; to TOML and back unchanged. The only room that builds.

mod auto;
mod axes;
mod budget;
mod check;
mod meeting;
mod named;
mod place;

pub use auto::Defaults;
pub use axes::{AXES, Axis, NESTED, flips};
pub use check::check;
pub use named::{ROWS, Row, row};

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::compress::{Compressor, Dense, Hands};
use crate::engine::{Lanes, Parts, fingerprint};
use crate::exchange::{self, Exchange, Gather, Hosts, Plan, Reduce, Star, TwoPhase};
use crate::fabric::{self, Clock, Medium, Still};
use crate::grammar::{Element, Value, unknown};
use crate::participation::Participation;
use crate::payload::{Offer, Payload};
use crate::topology::Topology;
use crate::workload::Workload;
use crate::{
    aggregate, buffers, compress, estimate, feedback, local, optim, participation, payload, placement, privacy,
    schedule, staleness, topology,
};

/// Entries from which on a second thread is lent: a guess at when it is worth its beginning.
const LONG: usize = 1 << 18;

/// One choice per axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The row that the choices began from, or `custom`.
    pub method: String,
    choices: BTreeMap<&'static str, Element>,
}

impl Default for Recipe {
    /// All axes neutral: plain large-batch SGD.
    fn default() -> Self {
        let choices = AXES.iter().map(|axis| (axis.name, Element::word(axis.neutral))).collect();
        Self { method: "custom".into(), choices }
    }
}

impl Recipe {
    /// The named row `name`.
    pub fn named(name: &str) -> Result<Self> {
        let row = row(name)?;
        let mut recipe = Self { method: row.name.into(), ..Self::default() };
        for (axis, element) in row.choices {
            recipe.choose(axis, &Element::parse(element)?)?;
        }
        Ok(recipe)
    }

    /// The choice on an axis.
    pub fn choice(&self, axis: &str) -> Result<&Element> {
        self.choices.get(axis).ok_or_else(|| unknown("axis", axis, AXES.iter().map(|a| a.name)))
    }

    /// Sets the choice on an axis; keys are checked and put under their names.
    pub fn choose(&mut self, axis: &str, element: &Element) -> Result<()> {
        let axis = axes::find(axis)?;
        let element = axis.normalise(element)?;
        self.choices.insert(axis.name, element);
        Ok(())
    }

    /// Takes `axis=element` or `axis.key=value`, the form of `--set`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let (path, value) = assignment.split_once('=').ok_or_else(|| {
            Error::request(format!("`{assignment}`: expected `axis=element` or `axis.key=value`, no `=` came"))
        })?;
        axes::find(path.trim().split('.').next().unwrap_or_default())?;
        match path.trim().split_once('.') {
            None => self.choose(path.trim(), &Element::parse(value)?),
            Some((axis, key)) => self.set_key(axis, key, Value::parse(value)?),
        }
        .map_err(|e| e.within(format!("`{assignment}`")))
    }

    /// Sets one key of the element on an axis.
    pub fn set_key(&mut self, axis: &str, key: &str, value: Value) -> Result<()> {
        let mut element = self.choice(axis)?.clone();
        element.named.insert(key.to_owned(), value);
        self.choose(axis, &element)
    }

    /// The recipe as TOML: `method` and one line per axis, in the order of the axes.
    pub fn to_toml(&self) -> String {
        let mut text = format!("method = {:?}\n", self.method);
        for axis in AXES {
            let _ = writeln!(text, "{} = {:?}", axis.name, self.choices[axis.name].to_string());
        }
        text
    }

    /// Reads a recipe: `method` names the row it starts from (absent or `custom`: the neutral one), each axis is a
    /// string `element(key=value)` or a table of keys, and anything else is refused. Keys in `also` are left to the
    /// caller.
    pub fn from_toml(text: &str, also: &[&str]) -> Result<Self> {
        let table: toml::Table = text.parse().map_err(|e| Error::request(format!("not a TOML recipe: {e}")))?;
        let mut recipe = match table.get("method").map(|m| m.as_str().unwrap_or_default()) {
            None | Some("custom") => Self::default(),
            Some(name) => Self::named(name)?,
        };
        for (key, value) in &table {
            match value {
                _ if key == "method" || also.contains(&key.as_str()) => {}
                _ if !AXES.iter().any(|a| a.name == key) => {
                    let known = AXES.iter().map(|a| a.name).chain(also.iter().copied()).chain(["method"]);
                    return Err(unknown("key of a recipe", key, known));
                }
                toml::Value::String(text) => recipe.choose(key, &Element::parse(text)?)?,
                toml::Value::Table(keys) => {
                    for (name, value) in keys {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        recipe.set_key(key, name, Value::parse(&text)?)?;
                    }
                }
                other => {
                    return Err(Error::request(format!(
                        "`{key}` must be a string such as \"topk(0.01)\" or a table of keys, but `{other}` came"
                    )));
                }
            }
        }
        Ok(recipe)
    }

    /// Whether local steps may be shortened by clipping.
    pub fn clips_steps(&self) -> bool {
        self.choices["optim"].name == "mixclip" || self.limits("optim", "clip") || self.limits("optim", "max_norm")
    }

    /// Whether rows may be clipped one by one.
    pub fn clips_rows(&self) -> bool {
        auto::row_clip(self).is_ok_and(|clip| clip.is_some())
    }

    /// Whether offers may be shortened by clipping before they are sent.
    pub fn clips_offers(&self) -> bool {
        self.limits("privacy", "clip") || self.choices["compress"].name == "clipped" || self.limits("compress", "clip")
    }

    fn limits(&self, axis: &str, key: &str) -> bool {
        let none = Value::Element(Element::word("none"));
        self.choices[axis].named.get(key).is_some_and(|v| *v != none)
    }

    /// Replaces every `auto` by a number or a choice, from the task's defaults.
    pub fn resolve(&mut self, defaults: &Defaults) -> Result<()> {
        auto::resolve(self, defaults)
    }

    /// What `exchange=auto` of the `open` recipe became here by `defaults`, and why: a sentence where numbers of bytes
    /// decided.
    pub fn told_of_meeting(&self, open: &Self, defaults: &Defaults) -> Result<Option<String>> {
        meeting::told(self, open, defaults)
    }

    /// Replaces every `auto` that waits for the size of the run: `feedback.lambda` is σ' of dual ascent on `ranks` ranks,
    /// and `privacy.noise` the least with which `steps` steps stay within `privacy.epsilon`; `rows` are those of every
    /// client.
    pub fn solve(&mut self, steps: u64, ranks: usize, rows: &[f32]) -> Result<()> {
        auto::pace(self, ranks)?;
        budget::solve(self, steps, ranks, rows)
    }

    /// The choices of a run on `old` ranks for going on with `new` ones: a `feedback.lambda` that is sigma' of dual ascent
    /// follows their number. Everything else stays as it was, rates and noise too.
    pub fn regroup(&mut self, old: usize, new: usize) -> Result<()> {
        auto::repace(self, old, new)
    }

    /// How many rounds a run of `steps` steps has, where a pass over a client's rows takes `epoch` steps on average.
    pub fn rounds(&self, steps: u64, epoch: f64) -> Result<u64> {
        Ok(budget::rounds(&self.build(Arc::new(Still))?, steps, epoch))
    }

    /// Whether local work can tell how far from the optimum a model is.
    pub fn certifies(&self) -> bool {
        self.choices["local"].name == "dual"
    }

    /// Whether the exchange is the collective of the fabric's engine, which most fabrics do not have.
    pub fn needs_engine(&self) -> Result<bool> {
        Ok(matches!(exchange::plan(self.choice("exchange")?)?, Plan::Reduce { engine: true, .. }))
    }

    /// What ranks talk through.
    pub fn medium(&self) -> Result<Medium> {
        fabric::build(&axes::attack(self.choice("fabric")?)?.0)
    }

    /// Who takes part: federated clients where it is not everyone.
    pub fn participation(&self) -> Result<Box<dyn Participation>> {
        participation::build(self.choice("participation")?)
    }

    /// Builds the choices; `check` them first.
    pub fn build(&self, clock: Arc<dyn Clock>) -> Result<Parts> {
        let topology = topology::build(self.choice("topology")?)?;
        let Offer { payload, fragments } = payload::offer(self.choice("payload")?)?;
        let spending = local::build(self.choice("local")?)?;
        estimate::build(&spending.estimate)?;
        Ok(Parts {
            optimizer: optim::build(self.choice("optim")?)?,
            local: spending.local(payload == Payload::Gradient),
            meeting: spending.state,
            batch: spending.batch,
            schedule: schedule::build(self.choice("schedule")?)?,
            payload,
            compressor: self.code(self.choice("compress")?)?,
            feedback: feedback::build(self.choice("feedback")?)?,
            aggregator: aggregate::build(self.choice("aggregate")?)?,
            exchange: between(topology, self.exchange()?, self.choice("feedback")?.name != "none"),
            down: self.down()?,
            staleness: staleness::build(self.choice("staleness")?)?,
            attack: axes::attack(self.choice("fabric")?)?.1,
            lanes: self.lanes()?,
            participation: participation::build(self.choice("participation")?)?,
            outer: (0..fragments).map(|_| optim::build_outer(self.choice("outer")?)).collect::<Result<_>>()?,
            privacy: privacy::build(self.choice("privacy")?)?,
            buffers: buffers::build(self.choice("buffers")?)?,
            placement: placement::build(self.choice("placement")?)?,
            topology,
            clock,
            fingerprint: fingerprint(&self.to_toml()),
        })
    }
}

impl Recipe {
    /// The workload with its gradients estimated as `local.estimate` says: what a worker is given.
    pub fn wrap(&self, workload: Box<dyn Workload>) -> Result<Box<dyn Workload>> {
        Ok(estimate::build(&local::build(self.choice("local")?)?.estimate)?.wrap(workload))
    }

    /// A compressor, with the threads that the fabric grants.
    fn code(&self, element: &Element) -> Result<Box<dyn Compressor>> {
        let mut code = compress::build(element)?;
        if axes::two_coders(self.choice("fabric")?)? {
            code.lend(Hands { both: fabric::at_once, least: LONG });
        }
        Ok(code)
    }

    /// The exchange. Under EF21 what goes up, and so what the server has to tell, is a *difference* to a shift that every
    /// rank holds; EF21 on the way down means that what is left of it is told later, which is a residual.
    fn exchange(&self) -> Result<Box<dyn Exchange>> {
        let up = &self.choice("feedback")?.name;
        Ok(match exchange::plan(self.choice("exchange")?)? {
            Plan::Gather { piece } => Box::new(Gather::in_pieces(piece)),
            Plan::Reduce { engine: true, .. } => Box::new(Reduce::by_engine()),
            Plan::Reduce { engine: false, piece } => Box::new(Reduce::in_pieces(piece)),
            Plan::Star { down, feedback } => {
                let differences = up == "ef21" && feedback.name == "ef21";
                let way_down = if differences { Element::word("residual") } else { feedback };
                Box::new(Star::new(self.code(&down)?, feedback::build(&way_down)?))
            }
            Plan::TwoPhase { down, feedback, piece } => {
                feedback::build(&feedback)?;
                // What an owner leaves unsaid is told later, of differences too.
                Box::new(TwoPhase::new(self.code(&down)?, feedback.name != "none", piece))
            }
            Plan::Auto => return Err(Error::request("exchange=auto is resolved before a recipe is built")),
        })
    }

    /// The code of differences on the way down from a server that serves whoever comes, if they are coded.
    fn down(&self) -> Result<Option<Box<dyn Compressor>>> {
        match exchange::plan(self.choice("exchange")?)? {
            Plan::Star { down, .. } if down.name != "dense" || !down.named.is_empty() => self.code(&down).map(Some),
            _ => Ok(None),
        }
    }

    /// Refuses a problem that this local work cannot work on, before anything is begun; a run would find out by itself.
    pub fn suits(&self, workload: &mut dyn Workload) -> Result<()> {
        local::build(self.choice("local")?)?.local(false).suits(workload)
    }

    /// What travels beside the payload is aggregated like it, but dense: through the star where there is one, by
    /// adding up where the aggregator can be added up, else by telling everybody. A sum is of moves: the rest is averaged.
    fn lanes(&self) -> Result<Lanes> {
        let star = self.choice("exchange")?.name == "star";
        let topology = topology::build(self.choice("topology")?)?;
        let aggregator = match self.choice("aggregate")? {
            sum if sum.name == "sum" => Element::word("mean"),
            other => other.clone(),
        };
        Ok(Box::new(move || {
            let aggregator = aggregate::build(&aggregator)?;
            let exchange: Box<dyn Exchange> = match () {
                () if star => Box::new(Star::new(Box::new(Dense), Box::new(feedback::None))),
                () if aggregator.linear() => Box::new(Reduce::default()),
                () => Box::new(Gather::default()),
            };
            Ok((between(topology, exchange, false), aggregator))
        }))
    }
}

/// An exchange between hosts, where ranks stand on some together.
fn between(topology: Topology, exchange: Box<dyn Exchange>, remembers: bool) -> Box<dyn Exchange> {
    if topology.size() == 1 { exchange } else { Box::new(Hosts::new(exchange, topology, remembers)) }
}

#[cfg(test)]
mod tests;
