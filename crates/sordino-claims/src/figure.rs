//! Figures: one number of a run.

use anyhow::{Context, bail};
use sordino::base::{Stream, Use};
use sordino::grammar::{Element, Value};
use sordino::workload::{Split, Workload};
use sordino_lab::experiment::Ended;
use sordino_lab::record::Point;

/// What a run, a compressor or a schedule is measured by.
///
/// A run that diverged has infinite losses; what was never reached took infinitely many.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// At the end of the run: a quantity by its name.
    End(Quantity),
    /// The mean over the last quarter of the points.
    Tail(Quantity),
    /// The least over the run.
    Best(Quantity),
    /// How much it took until a quantity first was at a level: below it, accuracy above it.
    Until(Cost, Quantity, f64),
    /// The largest fraction clipped after a share of the run.
    ClippedAfter(f64),
    /// How much the training loss rises at a distance from the end, in units of the model's norm.
    Sharpness(f64),
    /// ‖decode(encode v) − v‖²/‖v‖².
    CodecError,
    /// ‖mean of codings − v‖²/‖v‖².
    CodecBias,
    /// Bits an entry of a message.
    Bits,
    /// Rounds over steps.
    Share,
}

/// A column of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Mean loss of training.
    TrainLoss,
    /// Mean loss of held-out rows.
    EvalLoss,
    /// Fraction of right answers.
    Accuracy,
    /// Fraction of wrong ones.
    Error,
    /// The duality gap.
    Gap,
    /// The privacy spent.
    Epsilon,
    /// The mean loss of the worst tenth of the clients.
    ClientLossWorst,
    /// The standard deviation of the clients' losses.
    ClientLossSpread,
    /// The fraction clipped.
    Clipped,
    /// ‖residual‖.
    Residual,
    /// What it took.
    Cost(Cost),
}

/// What a run spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Meetings.
    Rounds,
    /// Local steps.
    Steps,
    /// Bytes sent and received by the busiest worker.
    Bytes,
    /// Bytes it sent.
    Sent,
    /// Bytes it received.
    Received,
    /// Seconds.
    Seconds,
}

const COSTS: &[(&str, Cost)] = &[
    ("rounds", Cost::Rounds),
    ("steps", Cost::Steps),
    ("bytes", Cost::Bytes),
    ("sent", Cost::Sent),
    ("received", Cost::Received),
    ("seconds", Cost::Seconds),
];

const QUANTITIES: &[(&str, Quantity)] = &[
    ("train_loss", Quantity::TrainLoss),
    ("eval_loss", Quantity::EvalLoss),
    ("accuracy", Quantity::Accuracy),
    ("error", Quantity::Error),
    ("gap", Quantity::Gap),
    ("epsilon", Quantity::Epsilon),
    ("client_loss_worst", Quantity::ClientLossWorst),
    ("client_loss_spread", Quantity::ClientLossSpread),
    ("clipped", Quantity::Clipped),
    ("residual", Quantity::Residual),
];

/// Directions in which sharpness is measured.
const DIRECTIONS: u64 = 10;

fn named<T: Copy>(known: &[(&str, T)], name: &str) -> Option<T> {
    known.iter().find(|(word, _)| *word == name).map(|(_, value)| *value)
}

impl Figure {
    /// A figure as it is written: `train_loss`, `tail(error)`, `bytes(train_loss=0.3)`, `sharpness(0.05)`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let element = Element::parse(text).with_context(|| format!("the figure `{text}`"))?;
        let word = || match element.positional.as_slice() {
            [Value::Element(inner)] => named(QUANTITIES, &inner.name),
            _ => None,
        };
        let number = || match element.positional.as_slice() {
            [Value::Number(number)] => Some(*number),
            _ => None,
        };
        let level = || match element.named.iter().next() {
            Some((name, Value::Number(level))) if element.named.len() == 1 => Some((named(QUANTITIES, name)?, *level)),
            _ => None,
        };
        let bare = element.positional.is_empty() && element.named.is_empty();
        let name = element.name.as_str();
        let found = match name {
            "tail" => word().map(Self::Tail),
            "best" => word().map(Self::Best),
            "clipped_after" => number().map(Self::ClippedAfter),
            "sharpness" => number().map(Self::Sharpness),
            "codec_error" if bare => Some(Self::CodecError),
            "codec_bias" if bare => Some(Self::CodecBias),
            "bits" if bare => Some(Self::Bits),
            "share" if bare => Some(Self::Share),
            _ if bare => named(QUANTITIES, name).or(named(COSTS, name).map(Quantity::Cost)).map(Self::End),
            _ => {
                named(COSTS, name).and_then(|cost| level().map(|(quantity, level)| Self::Until(cost, quantity, level)))
            }
        };
        match found {
            Some(figure) => Ok(figure),
            None => bail!(
                "`{text}` is no figure: expected a quantity such as train_loss or gap, tail(..) or best(..) of one, \
                 rounds, steps, bytes, sent, received or seconds, these until a level as in bytes(train_loss=0.3), \
                 sharpness(0.05), clipped_after(0.5), codec_error, codec_bias, bits or share"
            ),
        }
    }

    /// The figure of a run that has ended.
    pub fn of(
        &self,
        ended: &Ended,
        workload: impl FnOnce() -> sordino::Result<Box<dyn Workload>>,
    ) -> anyhow::Result<f64> {
        let points: Vec<&Point> = ended.points.iter().collect();
        let diverged = ended.summary.diverged;
        Ok(match self {
            Self::End(quantity) => end(*quantity, ended),
            Self::Tail(_) if diverged => f64::INFINITY,
            Self::Tail(quantity) => {
                let last = points.last().map_or(0, |p| p.step);
                let late = points.iter().filter(|p| p.step * 4 >= last * 3);
                mean(late.filter_map(|p| of_point(*quantity, p)))
            }
            Self::Best(quantity) => points.iter().filter_map(|p| of_point(*quantity, p)).fold(f64::INFINITY, f64::min),
            Self::Until(cost, quantity, level) => {
                let there =
                    |value: f64| if *quantity == Quantity::Accuracy { value >= *level } else { value <= *level };
                let first = points.iter().find(|p| of_point(*quantity, p).is_some_and(there));
                first.map_or(f64::INFINITY, |p| cost_at(*cost, p))
            }
            Self::ClippedAfter(share) => {
                let from = *share * points.last().map_or(0.0, |p| p.step as f64);
                let late = points.iter().filter(|p| p.step as f64 > from);
                late.filter_map(|p| p.clip_fraction).fold(0.0, f64::max)
            }
            Self::Sharpness(_) if diverged => f64::INFINITY,
            Self::Sharpness(distance) => sharpness(*distance, ended, &mut *workload()?)?,
            Self::CodecError | Self::CodecBias | Self::Bits | Self::Share => {
                bail!("{self:?} is no figure of a run: give it to an arm under [[codec]] or [[count]]")
            }
        })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    if count == 0 { f64::INFINITY } else { sum / count as f64 }
}

/// A quantity at the end: a loss that is not finite is infinite.
fn end(quantity: Quantity, ended: &Ended) -> f64 {
    let s = &ended.summary;
    let loss = |value: f64| if s.diverged || !value.is_finite() { f64::INFINITY } else { value };
    match quantity {
        Quantity::TrainLoss => loss(s.train_loss),
        Quantity::EvalLoss => loss(s.eval_loss),
        Quantity::Accuracy => s.accuracy.filter(|_| !s.diverged).unwrap_or(0.0),
        Quantity::Error => 1.0 - s.accuracy.filter(|_| !s.diverged).unwrap_or(0.0),
        Quantity::Gap => loss(s.duality_gap.unwrap_or(f64::INFINITY)),
        Quantity::Epsilon => s.epsilon.unwrap_or(f64::INFINITY),
        Quantity::ClientLossWorst => loss(s.client_loss_worst.unwrap_or(f64::INFINITY)),
        Quantity::ClientLossSpread => loss(s.client_loss_spread.unwrap_or(f64::INFINITY)),
        Quantity::Cost(Cost::Rounds) => s.rounds as f64,
        Quantity::Cost(Cost::Steps) => s.steps as f64,
        Quantity::Cost(Cost::Bytes) => s.bytes() as f64,
        Quantity::Cost(Cost::Sent) => s.bytes_sent_per_worker as f64,
        Quantity::Cost(Cost::Received) => s.bytes_received_per_worker as f64,
        Quantity::Cost(Cost::Seconds) => s.wall_seconds,
        Quantity::Clipped | Quantity::Residual => {
            ended.points.iter().rev().find_map(|p| of_point(quantity, p)).unwrap_or(f64::INFINITY)
        }
    }
}

/// A quantity at a point, where it is known and finite.
fn of_point(quantity: Quantity, point: &Point) -> Option<f64> {
    let value = match quantity {
        Quantity::TrainLoss => Some(point.train_loss),
        Quantity::EvalLoss => Some(point.eval_loss),
        Quantity::Accuracy => point.accuracy,
        Quantity::Error => point.accuracy.map(|a| 1.0 - a),
        Quantity::Gap => point.duality_gap,
        Quantity::Epsilon => point.epsilon,
        Quantity::ClientLossWorst => point.client_loss_worst,
        Quantity::ClientLossSpread => point.client_loss_spread,
        Quantity::Clipped => point.clip_fraction,
        Quantity::Residual => point.residual_norm,
        Quantity::Cost(cost) => Some(cost_at(cost, point)),
    };
    value.filter(|v| v.is_finite())
}

fn cost_at(cost: Cost, point: &Point) -> f64 {
    match cost {
        Cost::Rounds => point.round as f64,
        Cost::Steps => point.step as f64,
        Cost::Bytes => (point.bytes_sent + point.bytes_received) as f64,
        Cost::Sent => point.bytes_sent as f64,
        Cost::Received => point.bytes_received as f64,
        Cost::Seconds => point.seconds,
    }
}

/// Mean over directions of L(x + v) − L(x) with ‖v‖ = distance·‖x‖.
fn sharpness(distance: f64, ended: &Ended, workload: &mut dyn Workload) -> anyhow::Result<f64> {
    let (x, buffers) = (&ended.model.parameters, &ended.model.buffers);
    let mut loss = |at: &[f32]| -> anyhow::Result<f64> {
        let found = workload.evaluate(at, buffers, Split::Train)?;
        Ok(found.map_or(f64::INFINITY, |metrics| metrics.loss))
    };
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let (here, size) = (loss(x)?, norm(x));
    let mut rise = 0.0;
    for direction in 0..DIRECTIONS {
        let mut stream = Stream::new(0, Use::Noise, u64::MAX, direction);
        let v: Vec<f32> = x.iter().map(|_| stream.normal()).collect();
        let scale = (distance * size / norm(&v).max(f64::MIN_POSITIVE)) as f32;
        let there: Vec<f32> = x.iter().zip(&v).map(|(x, v)| x + scale * v).collect();
        rise += loss(&there)? - here;
    }
    Ok(rise / DIRECTIONS as f64)
}

#[cfg(test)]
mod tests {
    use sordino::base::Layout;
    use sordino::workload::{Start, Task, Valley};
    use sordino_lab::record::Summary;

    use super::*;

    fn ended(points: Vec<Point>, summary: Summary) -> Ended {
        let model = Start { parameters: vec![2.0, 0.0], buffers: Vec::new() };
        Ended { summary, points, layout: Layout::vector(2), model, interrupted: false }
    }

    fn of(text: &str, ended: &Ended) -> f64 {
        Figure::parse(text).unwrap().of(ended, || Valley::default().workload(1, 0)).unwrap()
    }

    fn point(step: u64, loss: f64) -> Point {
        Point {
            step,
            round: step / 2,
            train_loss: loss,
            bytes_sent: 10 * step,
            bytes_received: step,
            ..Point::default()
        }
    }

    #[test]
    fn figures_are_read_off_a_record() {
        let points = vec![point(0, 9.0), point(4, 3.0), point(8, 1.0), point(12, 2.0), point(16, 4.0)];
        let run = ended(points, Summary { train_loss: 4.0, rounds: 8, ..Summary::default() });
        assert_eq!(of("train_loss", &run), 4.0);
        assert_eq!(of("best(train_loss)", &run), 1.0);
        assert_eq!(of("tail(train_loss)", &run), 3.0);
        assert_eq!(of("rounds(train_loss=3)", &run), 2.0);
        assert_eq!(of("bytes(train_loss=1.5)", &run), 88.0);
        assert_eq!(of("steps(train_loss=0.5)", &run), f64::INFINITY);
        assert_eq!(of("rounds", &run), 8.0);
    }

    #[test]
    fn a_run_that_diverged_has_infinite_losses() {
        let run = ended(vec![point(0, 1.0)], Summary { train_loss: 1.0, diverged: true, ..Summary::default() });
        for figure in ["train_loss", "tail(train_loss)", "sharpness(0.1)"] {
            assert_eq!(of(figure, &run), f64::INFINITY, "{figure}");
        }
        assert_eq!(of("error", &run), 1.0);
    }

    #[test]
    fn a_sharp_place_is_sharper_than_a_flat_one() {
        let at = |u: f32| {
            let mut run = ended(Vec::new(), Summary::default());
            run.model.parameters = vec![u, 0.0];
            // Distances are in units of the norm: both are looked at from equally far away.
            of(&format!("sharpness({})", 0.1 / u), &run)
        };
        assert!(at(2.0) > 1.5 * at(1.0), "{} {}", at(2.0), at(1.0));
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        for text in
            ["beauty", "tail(beauty)", "bytes(train_loss)", "sharpness", "rounds(train_loss=1, error=2)", "tail("]
        {
            assert!(Figure::parse(text).is_err(), "{text}");
        }
    }
}
