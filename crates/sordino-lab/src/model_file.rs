//! `model.safetensors`: a trained model by the names of its tensors, readable by every tool that knows the format.
//!
//! # Contract
//! All tensors of the layout, parameters and buffers, as F32 with their shapes, and words about where they come from
//! in the header. Reading wants exactly the layout's names and shapes and says which one differs; the same model gives
//! the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use sordino::base::{Layout, Tensor};
use sordino::{Error, Result};

use crate::archive::{self, Item, Numbers};
use crate::files;

/// Where a model comes from. Words that a file lacks are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The method that trained it.
    pub method: String,
    /// The task it was trained on.
    pub task: String,
    /// The run's seed.
    pub seed: u64,
    /// The version of the program.
    pub version: String,
}

/// A model read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The flat parameters in the layout's order.
    pub parameters: Vec<f32>,
    /// The flat buffers in the layout's order.
    pub buffers: Vec<f32>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Writes a model, aside and renamed.
pub fn write(path: &Path, layout: &Layout, parameters: &[f32], buffers: &[f32], origin: &Origin) -> Result<()> {
    files::write_aside(path, &encode(layout, parameters, buffers, origin)?)
}

/// Reads a model of this layout.
pub fn read(path: &Path, layout: &Layout) -> Result<Model> {
    decode(&path.display().to_string(), &files::read_bytes(path)?, layout)
}

/// How many entries each tensor of a model has, in the order of names.
pub fn read_lengths(path: &Path) -> Result<Vec<usize>> {
    let (name, bytes) = (path.display().to_string(), files::read_bytes(path)?);
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::data(format!("{name}: expected a model in the safetensors format, but {e}")))?;
    let mut named: Vec<(String, usize)> =
        tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().iter().product())).collect();
    named.sort();
    Ok(named.into_iter().map(|(_, length)| length).collect())
}

/// Reads only where a model comes from.
pub fn read_origin(path: &Path) -> Result<Origin> {
    origin(&path.display().to_string(), &files::read_bytes(path)?)
}

/// The bytes of a model's file.
pub fn encode(layout: &Layout, parameters: &[f32], buffers: &[f32], origin: &Origin) -> Result<Vec<u8>> {
    layout.expect("the model to be written", parameters)?;
    if buffers.len() != layout.buffer_len() {
        return Err(Error::mismatch(format!(
            "the model to be written has {} buffer entries, but the layout has {}",
            buffers.len(),
            layout.buffer_len()
        )));
    }
    let item = |tensor: &Tensor, numbers| Item {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        numbers: Numbers::F32(numbers),
    };
    let mut items: Vec<Item> = layout.tensors().map(|(tensor, range)| item(tensor, &parameters[range])).collect();
    let mut rest = buffers;
    for tensor in layout.buffers() {
        let (mine, others) = rest.split_at(tensor.len());
        items.push(item(tensor, mine));
        rest = others;
    }
    let words = [
        ("method", origin.method.clone()),
        ("task", origin.task.clone()),
        ("seed", origin.seed.to_string()),
        ("version", origin.version.clone()),
    ];
    archive::pack(&items, &words.map(|(k, v)| (k.to_owned(), v)).into())
}

/// A model of this layout from the bytes of a file called `name`.
pub fn decode(name: &str, bytes: &[u8], layout: &Layout) -> Result<Model> {
    let file = archive::open(name, bytes)?;
    let wanted: BTreeMap<&str, &Tensor> =
        layout.tensors().map(|(t, _)| t).chain(layout.buffers()).map(|t| (t.name.as_str(), t)).collect();
    let mut strangers: Vec<&str> = file.names().into_iter().filter(|n| !wanted.contains_key(n)).collect();
    strangers.sort_unstable();
    if let Some(stranger) = strangers.first() {
        return Err(Error::mismatch(format!(
            "{name} has a tensor `{stranger}` that this model lacks ({} such): is it the file of another model?",
            strangers.len()
        )));
    }
    let (mut parameters, mut buffers) = (Vec::with_capacity(layout.len()), Vec::with_capacity(layout.buffer_len()));
    for (tensor, _) in layout.tensors() {
        parameters.extend(fetch(name, &file, tensor)?);
    }
    for tensor in layout.buffers() {
        buffers.extend(fetch(name, &file, tensor)?);
    }
    Ok(Model { parameters, buffers, origin: origin(name, bytes)? })
}

fn fetch(name: &str, file: &SafeTensors<'_>, tensor: &Tensor) -> Result<Vec<f32>> {
    let view = file.tensor(&tensor.name).map_err(|_| {
        Error::mismatch(format!("{name} has no tensor `{}`: is it the file of another model?", tensor.name))
    })?;
    if view.dtype() != Dtype::F32 || view.shape() != tensor.shape {
        return Err(Error::mismatch(format!(
            "{name}: tensor `{}` is {} {:?}, but the model needs F32 {:?}",
            tensor.name,
            view.dtype(),
            view.shape(),
            tensor.shape
        )));
    }
    Ok(archive::f32s(&view))
}

fn origin(name: &str, bytes: &[u8]) -> Result<Origin> {
    let mut words = archive::words(name, bytes)?;
    let mut word = |key: &str| words.remove(key).unwrap_or_default();
    let (method, task, seed, version) = (word("method"), word("task"), word("seed"), word("version"));
    Ok(Origin { method, task, seed: seed.parse().unwrap_or(0), version })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sordino::base::Role;

    use super::*;
    use crate::files::Scratch;

    fn layout(width: usize) -> Layout {
        Layout::new([
            Tensor::new("z.weight", &[2, width], Role::Weight),
            Tensor::new("z.mean", &[2], Role::Buffer),
            Tensor::new("a.bias", &[2], Role::Bias),
            Tensor::new("a.count", &[1], Role::Buffer),
        ])
    }

    fn from() -> Origin {
        Origin { method: "qsr".into(), task: "optdigits".into(), seed: u64::MAX, version: "0.1.0".into() }
    }

    #[test]
    fn a_model_survives_the_disk_in_the_order_of_its_layout() {
        let scratch = Scratch::new("model");
        let path = scratch.0.join("model.safetensors");
        let (parameters, buffers) = ([1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0, 7.0, 8.0], [0.5, 0.25, 9.0]);
        write(&path, &layout(3), &parameters, &buffers, &from()).unwrap();
        let model = read(&path, &layout(3)).unwrap();
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&model.parameters), bits(&parameters));
        assert_eq!(model.buffers, buffers);
        assert_eq!(model.origin, from());
        assert_eq!(read_origin(&path).unwrap(), from());
    }

    #[test]
    fn another_model_is_refused_by_the_name_of_what_differs() {
        let bytes = encode(&layout(3), &[0.0; 8], &[0.0; 3], &from()).unwrap();
        let says = |l: &Layout| decode("m", &bytes, l).unwrap_err().to_string();
        let wider = says(&layout(4));
        assert!(wider.contains("`z.weight` is F32 [2, 3], but the model needs F32 [2, 4]"), "{wider}");
        assert!(says(&Layout::vector(3)).contains("m has a tensor `a.bias` that this model lacks (4 such)"));
        let more = Layout::new(
            layout(3).tensors().map(|(t, _)| t.clone()).chain(layout(3).buffers().to_vec()).chain([Tensor::new(
                "b.bias",
                &[1],
                Role::Bias,
            )]),
        );
        assert!(says(&more).contains("no tensor `b.bias`"));
        assert!(encode(&layout(3), &[0.0; 7], &[0.0; 3], &from()).is_err());
        assert!(encode(&layout(3), &[0.0; 8], &[0.0; 2], &from()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..400, to: u8) {
            let _ = decode("t", &bytes, &layout(3));
            let mut near = encode(&layout(3), &[0.0; 8], &[0.0; 3], &from()).unwrap();
            let at = at % near.len();
            near[at] = to;
            let _ = decode("t", &near, &layout(3));
        }
    }
}
