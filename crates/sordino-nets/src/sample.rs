//! Text from a trained character model.

use burn::tensor::{Device, Int, Tensor, TensorData};
use sordino::base::{Error, Result, Stream};
use sordino::workload::Workload as _;

use crate::data::Text;
use crate::pass::Pass;
use crate::task::Model;

/// A model that predicts the next character, and so can write.
pub trait Sample: Model<Data = Text> {
    /// Logits of what follows each of n × t codes, as (n·t) × symbols.
    fn logits(module: &Self::Module, codes: Tensor<2, Int>, pass: &mut Pass) -> Tensor<2>;

    /// The prompt and `length` characters more, drawn with the given temperature; 0 takes the likeliest.
    ///
    /// The model looks back at most one window. A prompt with a character the text does not know is refused.
    fn sample(
        &self,
        text: &Text,
        parameters: &[f32],
        prompt: &str,
        length: usize,
        temperature: f64,
        stream: &mut Stream,
    ) -> Result<String> {
        let symbols = text.symbols();
        let code = |c: char| {
            symbols.iter().position(|&s| s == c).map(|i| i as i32).ok_or_else(|| {
                Error::request(format!("the prompt's {c:?} is not among the {} characters of the text", symbols.len()))
            })
        };
        let mut codes: Vec<i32> = prompt.chars().map(code).collect::<Result<_>>()?;
        if codes.is_empty() {
            codes.push(stream.below(symbols.len() as u64) as i32);
        }
        let device = Device::default();
        let mut workload = self.workload(text.clone())?;
        let buffers = workload.start(0).buffers;
        let module = workload.evaluated(parameters, &buffers)?;
        for _ in 0..length {
            let seen = &codes[codes.len().saturating_sub(text.window())..];
            let input = Tensor::from_data(TensorData::new(seen.to_vec(), [1, seen.len()]), &device);
            let logits = Self::logits(&module, input, &mut Pass::evaluation()).into_data();
            let logits = logits.as_slice::<f32>().map_err(|e| Error::data(e.to_string()))?;
            let next = &logits[logits.len() - symbols.len()..];
            codes.push(choose(next, temperature, stream) as i32);
        }
        Ok(codes.iter().map(|&c| symbols[c as usize]).collect())
    }
}

/// One index, with probability proportional to exp(logit / temperature).
fn choose(logits: &[f32], temperature: f64, stream: &mut Stream) -> usize {
    let (mut best, mut top) = (0, f64::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if f64::from(logit) > top {
            (best, top) = (i, f64::from(logit));
        }
    }
    if temperature <= 0.0 {
        return best;
    }
    let weights: Vec<f64> = logits.iter().map(|&l| ((f64::from(l) - top) / temperature).exp()).collect();
    let mut left = stream.uniform64() * weights.iter().sum::<f64>();
    weights
        .iter()
        .position(|w| {
            left -= w;
            left < 0.0
        })
        .unwrap_or(best)
}
