//! Chain: dense layers of one width that follow one another, on made data; a network that can be cut anywhere.
//!
//! # What it does
//! Gives worker i the mean squared error over its rows of a deep chain of small layers.
//!
//! # The step
//! ```text
//! h₀ = a ;  h_l = drop(act(W_l h_{l−1} + b_l)) for l < L ;  h_L = W_L h_{L−1} + b_L
//! f_i(W, b) = mean over rows (a, y) of ½‖h_L − y‖²                   act = tanh, or nothing
//! ```
//! # Contract
//! Every layer can be cut from the next, and stages give the bits of the whole. Products of rows run in f64, gradients
//! of weights are added up in the order of the rows. Inputs are N(0, I), targets a random linear map of them; with
//! `row` there is that one row. A tied chain has one matrix for its first and its last layer. Dropout draws the
//! stream's uniform numbers layer after layer, row after row; an evaluation drops nothing.
//!
//! # When it helps, when it hurts
//! Whatever cuts a network into blocks can be held to the last bit here, without a framework. With width 1, one row
//! and no bias it is f = ½(w₁⋯w_L − 2)², on which staleness shows at once.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use std::ops::Range;
use std::sync::Arc;

use super::{Back, Deal, Draw, EVALUATED_ROWS, Flow, Metrics, Part, Piece, Rows, Split, Stage, Start, Task, Workload};
use crate::base::{Error, Layout, Result, Role, Stream, Tensor, Use, flat};
use crate::workload::Batch;

/// A chain of layers with its data.
#[derive(Clone, Debug)]
pub struct Chain {
    /// How many layers.
    pub layers: usize,
    /// Inputs and outputs of every layer.
    pub width: usize,
    /// Whether layers add a bias.
    pub bias: bool,
    /// Whether all layers but the last end in tanh.
    pub tanh: bool,
    /// Probability that an output of a layer (but the last) is left out of a training pass.
    pub dropout: f32,
    /// Whether the last layer uses the first one's matrix.
    pub tied: bool,
    /// Every weight at the start; drawn where it is not given.
    pub start: Option<f32>,
    /// Training rows.
    pub rows: usize,
    /// One row instead: this input and this target in every entry.
    pub row: Option<(f32, f32)>,
    /// How rows come to clients.
    pub deal: Deal,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            layers: 6,
            width: 5,
            bias: true,
            tanh: true,
            dropout: 0.0,
            tied: false,
            start: None,
            rows: 64,
            row: None,
            deal: Deal::Iid,
        }
    }
}

impl Chain {
    /// The scalar chain ½(w₁⋯w_L − 2)², all weights 0.9.
    pub fn scalar(layers: usize) -> Self {
        Self {
            layers,
            width: 1,
            bias: false,
            tanh: false,
            rows: 1,
            start: Some(0.9),
            row: Some((1.0, 2.0)),
            ..Self::default()
        }
    }

    /// The tensors that each layer uses: its matrix, then its bias.
    fn uses(&self) -> Vec<Vec<usize>> {
        let mut tensors = 0;
        let mut fresh = || {
            tensors += 1;
            tensors - 1
        };
        (0..self.layers)
            .map(|l| {
                let matrix = if self.tied && l > 0 && l + 1 == self.layers { 0 } else { fresh() };
                [Some(matrix), self.bias.then(&mut fresh)].into_iter().flatten().collect()
            })
            .collect()
    }

    fn layout(&self) -> Layout {
        let mut tensors = Vec::new();
        for (l, uses) in self.uses().iter().enumerate() {
            if uses[0] == tensors.len() {
                tensors.push(Tensor::new(format!("{l}.weight"), &[self.width, self.width], Role::Weight));
            }
            if self.bias {
                tensors.push(Tensor::new(format!("{l}.bias"), &[self.width], Role::Bias));
            }
        }
        Layout::new(tensors)
    }

    /// Inputs and targets, row after row.
    fn data(&self, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let (rows, width) = (self.rows.max(1), self.width);
        if let Some((input, target)) = self.row {
            return (vec![input; width], vec![target; width]);
        }
        let normals = |index: u64, n: usize| -> Vec<f32> {
            let mut stream = Stream::new(seed, Use::Problem, 0, index);
            (0..n).map(|_| stream.normal()).collect()
        };
        let (inputs, map) = (normals(0, rows * width), normals(1, width * width));
        let targets = inputs
            .chunks(width)
            .flat_map(|a| map.chunks(width).map(|m| (flat::dot(m, a) / libm::sqrt(width as f64)) as f32))
            .collect();
        (inputs, targets)
    }
}

impl Task for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        if self.layers == 0 || self.width == 0 || !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::request(format!(
                "a chain needs layers, a width and a dropout below 1, but {} layers of width {} with dropout {} came",
                self.layers, self.width, self.dropout
            )));
        }
        let (inputs, targets) = self.data(seed);
        let rows = self.deal.rows(inputs.len() / self.width, clients)?;
        let model = Arc::new(Model { chain: self.clone(), uses: self.uses(), layout: self.layout(), inputs, targets });
        let whole = Segment::new(&model, 0..self.layers, rows);
        Ok(Box::new(Links { model, whole }))
    }

    fn layers(&self) -> Result<usize> {
        Ok(self.layers)
    }

    fn rows(&self) -> usize {
        if self.row.is_some() { 1 } else { self.rows.max(1) }
    }

    fn fingerprint(&self) -> u64 {
        let flags = [self.bias, self.tanh, self.tied].map(|f| f32::from(u8::from(f)));
        let numbers = [self.layers, self.width, self.rows].map(|n| n as f32);
        let (input, target) = self.row.unwrap_or((f32::INFINITY, 0.0));
        let rest = [self.dropout, self.start.unwrap_or(f32::INFINITY), input, target];
        flat::fingerprint(&[&flags[..], &numbers, &rest].concat())
    }
}

/// What every stage of a chain shares.
struct Model {
    chain: Chain,
    uses: Vec<Vec<usize>>,
    layout: Layout,
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Model {
    fn of<'a>(&self, data: &'a [f32], row: u32) -> &'a [f32] {
        &data[row as usize * self.chain.width..][..self.chain.width]
    }
}

/// What a layer leaves behind for its way back.
struct Trace {
    input: Vec<f32>,
    /// What tanh gave, where there is one.
    active: Vec<f32>,
    /// What was multiplied in by dropout, where there is any.
    mask: Vec<f32>,
}

/// A forward pass that was kept.
struct Kept {
    piece: Piece,
    parameters: Vec<f32>,
    traces: Vec<Trace>,
    /// Loss and error, on the last stage.
    end: Option<(f64, Vec<f32>)>,
}

/// Some of the layers.
struct Segment {
    model: Arc<Model>,
    range: Range<usize>,
    rows: Rows,
    /// Where in the stage's parameters each layer's tensors lie.
    slots: Vec<Vec<Range<usize>>>,
    len: usize,
    parameters: Vec<f32>,
    kept: Vec<Kept>,
}

impl Segment {
    fn new(model: &Arc<Model>, layers: Range<usize>, rows: Rows) -> Self {
        let mut tensors: Vec<usize> = model.uses[layers.clone()].concat();
        tensors.sort_unstable();
        tensors.dedup();
        let own = model.layout.part(&tensors);
        let slot = |tensor: &usize| own.ranges()[tensors.partition_point(|t| t < tensor)].clone();
        let slots = model.uses[layers.clone()].iter().map(|uses| uses.iter().map(slot).collect()).collect();
        Self {
            model: Arc::clone(model),
            range: layers,
            rows,
            slots,
            len: own.len(),
            parameters: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn is_last(&self) -> bool {
        self.range.end == self.model.chain.layers
    }

    /// Runs the layers on rows of activations, with dropout where there is noise, leaving traces where there is room.
    fn run(
        &self,
        parameters: &[f32],
        mut x: Vec<f32>,
        mut noise: Option<&mut Stream>,
        mut traces: Option<&mut Vec<Trace>>,
    ) -> Vec<f32> {
        let Chain { width, tanh, dropout, layers, .. } = self.model.chain;
        for (layer, slots) in self.range.clone().zip(&self.slots) {
            let matrix = &parameters[slots[0].clone()];
            let mut out = Vec::with_capacity(x.len());
            for input in x.chunks(width) {
                out.extend(matrix.chunks(width).map(|row| flat::dot(row, input) as f32));
                if let Some(bias) = slots.get(1) {
                    let from = out.len() - width;
                    flat::add(&mut out[from..], &parameters[bias.clone()]);
                }
            }
            let (mut active, mut mask) = (Vec::new(), Vec::new());
            if layer + 1 < layers {
                if tanh {
                    for v in &mut out {
                        *v = libm::tanhf(*v);
                    }
                    active.clone_from(&out);
                }
                if let (true, Some(noise)) = (dropout > 0.0, noise.as_deref_mut()) {
                    let kept = 1.0 / (1.0 - dropout);
                    mask = out.iter().map(|_| if noise.uniform() < dropout { 0.0 } else { kept }).collect();
                    out.iter_mut().zip(&mask).for_each(|(v, m)| *v *= m);
                }
            }
            let input = std::mem::replace(&mut x, out);
            if let Some(traces) = traces.as_deref_mut() {
                traces.push(Trace { input, active, mask });
            }
        }
        x
    }

    /// Mean loss over rows, and its gradient by what the last layer gave.
    fn end(&self, out: &[f32], rows: &[u32]) -> (f64, Vec<f32>) {
        let (width, n) = (self.model.chain.width, rows.len().max(1));
        let (mut loss, mut error) = (0.0, out.to_vec());
        for (e, row) in error.chunks_mut(width).zip(rows) {
            flat::subtract(e, self.model.of(&self.model.targets, *row));
            loss += 0.5 * flat::squared_norm(e);
        }
        flat::divide(&mut error, n as f32);
        (loss / n as f64, error)
    }

    /// A forward pass over given rows, kept, and the way back.
    fn gradient(&self, parameters: &[f32], rows: &[u32], noise: &mut Stream, gradient: &mut [f32]) -> f64 {
        let mut traces = Vec::new();
        let out = self.run(parameters, self.inputs(rows), Some(noise), Some(&mut traces));
        let (loss, error) = self.end(&out, rows);
        self.back(parameters, &traces, error, gradient);
        loss
    }

    fn inputs(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().flat_map(|row| self.model.of(&self.model.inputs, *row)).copied().collect()
    }

    /// Overwrites `gradient`; gives the error by what the first of the layers was told.
    fn back(&self, parameters: &[f32], traces: &[Trace], mut error: Vec<f32>, gradient: &mut [f32]) -> Vec<f32> {
        let width = self.model.chain.width;
        gradient.fill(0.0);
        for (slots, trace) in self.slots.iter().zip(traces).rev() {
            error.iter_mut().zip(&trace.mask).for_each(|(e, m)| *e *= m);
            error.iter_mut().zip(&trace.active).for_each(|(e, a)| *e *= 1.0 - a * a);
            let mut below = vec![0.0; error.len()];
            let matrix = &parameters[slots[0].clone()];
            // Added up by itself first: a matrix that two layers use gets the same sum whether a cut parts them or not.
            let mut slopes = vec![0.0; matrix.len()];
            let rows = error.chunks(width).zip(trace.input.chunks(width)).zip(below.chunks_mut(width));
            for ((error, input), below) in rows {
                for ((e, slope), row) in error.iter().zip(slopes.chunks_mut(width)).zip(matrix.chunks(width)) {
                    flat::add_scaled(slope, *e, input);
                    flat::add_scaled(below, *e, row);
                }
                if let Some(bias) = slots.get(1) {
                    flat::add(&mut gradient[bias.clone()], error);
                }
            }
            flat::add(&mut gradient[slots[0].clone()], &slopes);
            error = below;
        }
        error
    }

    /// The rows of a piece.
    fn pick(&mut self, piece: &Piece) -> Result<Vec<u32>> {
        let rows = self.rows.pick(&piece.draw)?;
        Ok(rows[piece.rows(rows.len())].to_vec())
    }

    fn expect(&self, what: &str, came: usize, wanted: usize) -> Result<()> {
        if came == wanted {
            return Ok(());
        }
        let Range { start, end } = self.range;
        Err(Error::mismatch(format!("layers {start}..{end} of a chain were given {came} {what}, expected {wanted}")))
    }
}

impl Stage for Segment {
    fn load(&mut self, parameters: &[f32]) -> Result<()> {
        self.expect("parameters", parameters.len(), self.len)?;
        self.parameters.clear();
        self.parameters.extend_from_slice(parameters);
        Ok(())
    }

    fn forward(&mut self, piece: &Piece, input: &Flow, keep: bool) -> Result<Flow> {
        self.expect("parameters", self.parameters.len(), self.len)?;
        let picked = self.pick(piece)?;
        let x = if self.range.start == 0 { self.inputs(&picked) } else { input.values.clone() };
        self.expect("activations", x.len(), picked.len() * self.model.chain.width)?;
        let (mut noise, mut traces) = (piece.noise(input.noise), Vec::new());
        let out = self.run(&self.parameters, x, Some(&mut noise), keep.then_some(&mut traces));
        let end = self.is_last().then(|| self.end(&out, &picked));
        let values = if end.is_some() { Vec::new() } else { out };
        if keep {
            self.kept.retain(|kept| kept.piece != *piece);
            self.kept.push(Kept { piece: *piece, parameters: self.parameters.clone(), traces, end });
        }
        Ok(Flow { values, rows: picked.len(), noise: noise.cursor() })
    }

    fn backward(&mut self, piece: &Piece, error: &[f32], gradient: &mut [f32]) -> Result<Back> {
        self.expect("places for a gradient", gradient.len(), self.len)?;
        let at = self.kept.iter().position(|kept| kept.piece == *piece).ok_or_else(|| {
            Error::mismatch(format!("no forward pass of batch {} was kept, so there is no way back", piece.draw.step))
        })?;
        let Kept { parameters, traces, end, .. } = self.kept.remove(at);
        let (loss, error) = match end {
            Some((loss, error)) => (Some(loss), error),
            None => (None, error.to_vec()),
        };
        self.expect("errors", error.len(), traces.last().map_or(0, |t| t.input.len()))?;
        let error = self.back(&parameters, &traces, error, gradient);
        Ok(Back { error: if self.range.start == 0 { Vec::new() } else { error }, loss })
    }
}

/// A whole chain as a workload.
struct Links {
    model: Arc<Model>,
    whole: Segment,
}

impl Links {
    fn metrics(&self, parameters: &[f32], rows: &[u32]) -> Metrics {
        let out = self.whole.run(parameters, self.whole.inputs(rows), None, None);
        Metrics { loss: self.whole.end(&out, rows).0, accuracy: None, examples: rows.len() }
    }
}

impl Workload for Links {
    fn layout(&self) -> &Layout {
        &self.model.layout
    }

    fn start(&self, seed: u64) -> Start {
        let mut parameters = vec![0.0; self.model.layout.len()];
        let deviation = 1.0 / (self.model.chain.width as f32).sqrt();
        for (i, (tensor, range)) in self.model.layout.tensors().enumerate() {
            let mut stream = Stream::new(seed, Use::Init, 0, i as u64);
            if tensor.role == Role::Weight {
                let given = self.model.chain.start;
                parameters[range].fill_with(|| given.unwrap_or_else(|| deviation * stream.normal()));
            }
        }
        Start { parameters, buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.whole.rows.len(client)
    }

    fn gradient(&mut self, parameters: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let rows = self.whole.pick(&Piece::whole(*draw))?;
        Ok(self.whole.gradient(parameters, &rows, &mut draw.noise(), gradient))
    }

    fn parts(
        &mut self,
        parameters: &[f32],
        _: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        let (rows, mut noise) = (self.whole.pick(&Piece::whole(*draw))?, draw.noise());
        for part in rows.chunks(most.max(1)) {
            let loss = self.whole.gradient(parameters, part, &mut noise, gradient);
            each(gradient, part.len(), loss)?;
        }
        Ok(())
    }

    fn layers(&self) -> Vec<Vec<usize>> {
        self.model.uses.clone()
    }

    fn stage(&self, layers: Range<usize>) -> Result<Box<dyn Stage>> {
        if layers.is_empty() || layers.end > self.model.chain.layers {
            return Err(Error::request(format!(
                "a chain of {} layers has no block {}..{}",
                self.model.chain.layers, layers.start, layers.end
            )));
        }
        Ok(Box::new(Segment::new(&self.model, layers, self.whole.rows.clone())))
    }

    fn evaluate_client(&mut self, parameters: &[f32], _: &[f32], client: u64) -> Result<Option<Metrics>> {
        let draw = Draw { seed: 0, client, step: 0, batch: Batch::Full };
        let rows = self.whole.pick(&Piece::whole(draw))?;
        Ok(Some(self.metrics(parameters, &rows)))
    }

    fn evaluate(&mut self, parameters: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        if split == Split::Test {
            return Ok(None);
        }
        let rows: Vec<u32> = (0..self.model.inputs.len() / self.model.chain.width).map(|r| r as u32).collect();
        Ok(Some(self.metrics(parameters, &rows[..rows.len().min(EVALUATED_ROWS)])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(step: u64) -> Draw {
        Draw { seed: 4, client: 0, step, batch: Batch::Rows(7) }
    }

    /// Loss and gradient of a chain that is cut at `cuts`, block after block; each block's tensors are put in place.
    fn cut(workload: &dyn Workload, x: &[f32], draw: &Draw, cuts: &[usize]) -> (f64, Vec<f32>) {
        let (uses, layout) = (workload.layers(), workload.layout().clone());
        let bounds: Vec<usize> = [&[0][..], cuts, &[uses.len()]].concat();
        let mut blocks: Vec<_> = bounds
            .windows(2)
            .map(|w| {
                let mut tensors = uses[w[0]..w[1]].concat();
                tensors.sort_unstable();
                tensors.dedup();
                let ranges: Vec<_> = tensors.iter().map(|t| layout.ranges()[*t].clone()).collect();
                (workload.stage(w[0]..w[1]).unwrap(), ranges)
            })
            .collect();
        let own = |ranges: &[Range<usize>]| ranges.iter().flat_map(|r| &x[r.clone()]).copied().collect::<Vec<f32>>();
        let (piece, mut flow) = (Piece::whole(*draw), Flow::default());
        for (stage, ranges) in &mut blocks {
            stage.load(&own(ranges)).unwrap();
            let passing = stage.forward(&piece, &flow, false).unwrap();
            flow = stage.forward(&piece, &flow, true).unwrap();
            assert_eq!(flow, passing, "a pass that is kept is the pass");
        }
        let (mut gradient, mut back) = (vec![0.0; x.len()], Back::default());
        let mut loss = None;
        for (stage, ranges) in blocks.iter_mut().rev() {
            let mut own = vec![f32::NAN; ranges.iter().map(ExactSizeIterator::len).sum()];
            back = stage.backward(&piece, &back.error, &mut own).unwrap();
            loss = loss.or(back.loss);
            let mut rest = &own[..];
            for range in ranges {
                let (here, left) = rest.split_at(range.len());
                flat::add(&mut gradient[range.clone()], here);
                rest = left;
            }
        }
        assert!(back.error.is_empty());
        (loss.unwrap(), gradient)
    }

    #[test]
    fn stages_give_the_bits_of_the_whole_wherever_it_is_cut() {
        for chain in [
            Chain { dropout: 0.3, ..Chain::default() },
            Chain { tied: true, dropout: 0.2, ..Chain::default() },
            Chain { bias: false, tanh: false, ..Chain::default() },
        ] {
            let mut whole = chain.workload(1, 2).unwrap();
            let x = whole.start(2).parameters;
            let mut gradient = vec![0.0; x.len()];
            for step in 0..3 {
                let loss = whole.gradient(&x, &mut [], &draw(step), &mut gradient).unwrap();
                for cuts in [&[][..], &[1], &[5], &[2, 4], &[1, 2, 3, 4, 5]] {
                    let (of_blocks, blocks) = cut(&*whole, &x, &draw(step), cuts);
                    assert_eq!((of_blocks, &blocks), (loss, &gradient), "{chain:?} cut at {cuts:?}");
                }
            }
        }
    }

    #[test]
    fn the_scalar_chain_is_what_it_is_said_to_be() {
        let mut chain = Chain::scalar(3).workload(1, 0).unwrap();
        let (x, mut gradient) = (chain.start(0).parameters, [0.0; 3]);
        assert_eq!(x, [0.9; 3]);
        let loss = chain.gradient(&x, &mut [], &draw(0), &mut gradient).unwrap();
        let gap = 0.9f64.powi(3) - 2.0;
        assert!((loss - 0.5 * gap * gap).abs() < 1e-6, "{loss}");
        assert!(gradient.iter().all(|g| (f64::from(*g) - gap * 0.81).abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn what_was_not_kept_has_no_way_back_and_nonsense_is_named() {
        let chain = Chain::default().workload(1, 0).unwrap();
        let mut stage = chain.stage(0..2).unwrap();
        let x = vec![0.1; 60];
        let (piece, flow) = (Piece::whole(draw(3)), Flow::default());
        assert!(stage.forward(&piece, &flow, false).unwrap_err().to_string().contains("given 0 parameters"));
        stage.load(&x).unwrap();
        stage.forward(&piece, &flow, false).unwrap();
        let error = stage.backward(&piece, &[0.0; 35], &mut [0.0; 60]).unwrap_err();
        assert!(error.to_string().contains("batch 3"), "{error}");
        stage.forward(&piece, &flow, true).unwrap();
        assert!(stage.backward(&piece, &[0.0; 35], &mut [0.0; 60]).is_ok());
        assert!(stage.backward(&piece, &[0.0; 35], &mut [0.0; 60]).is_err(), "used up");
        assert!(stage.load(&x[1..]).unwrap_err().to_string().contains("expected 60"));
        assert!(chain.stage(3..9).is_err() && chain.stage(2..2).is_err());
    }
}
