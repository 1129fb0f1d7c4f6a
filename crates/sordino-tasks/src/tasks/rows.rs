//! Data of the laboratory as tasks whose rows are dealt.

use std::sync::Arc;

use sordino::engine::fingerprint;
use sordino::recipe::AXES;
use sordino::workload::{Deal, Logistic, Made as MadeRows, Ridge, SparseRows};
use sordino::{Error, Result};
use sordino_lab::data::{self, DenseRows, DenseSet, ImageSet, Set, SparseSet, TextSet};
use sordino_lab::partition::{Partition, flipped};
use sordino_nets::{ImageData, Images, Model, Sample, Text};

use super::fool::{Fool, Margin};
use super::{Ask, Made, Writer, most, plain};

/// Characters of one row of a text.
const WINDOW: usize = 64;
/// Characters of one row of a role: so few that nearly every one of them fills a row.
const ROLE_WINDOW: usize = 32;

/// The deal that the axis `partition` names.
fn deal(ask: &Ask, rows: usize, labels: Option<&[u32]>, clients: Option<&[u32]>) -> Result<Deal> {
    let axis = AXES.iter().find(|a| a.name == "partition");
    let listing = axis.and_then(|a| a.listing(&ask.partition.name)).map(|(listing, _)| listing);
    let mut own = ask.partition.clone();
    own.named.remove("flip");
    let partition = match (own.name.as_str(), listing) {
        ("iid", _) => Partition::Iid,
        ("contiguous", _) => Partition::Contiguous,
        ("natural", _) => Partition::Natural,
        ("dirichlet", Some(listing)) => Partition::Dirichlet(listing.resolve(&own)?.positive("alpha")?),
        (other, _) => return Err(Error::request(format!("unknown partition `{other}`"))),
    };
    partition.deal(rows, labels, clients, ask.clients, ask.seed)
}

/// Refuses to flip the labels of a task that has none.
fn without_labels(ask: &Ask) -> Result<()> {
    if ask.flip == 0 {
        return Ok(());
    }
    Err(Error::request(format!(
        "the answers of {} are the characters that follow, so partition={} has no labels to flip; \
         set partition.flip=0, or use a task with labels such as digits-mlp",
        ask.name, ask.partition
    )))
}

/// Pictures of a set known by name.
pub fn images<M: Model<Data = ImageData>>(ask: &Ask, set: &str, model: M) -> Result<Made> {
    let name = match (set, ask.data) {
        ("fashion", Some(_)) => "fashion-mnist",
        ("fashion", None) => "fashion-tiny",
        (other, _) => other,
    };
    match data::load(name, ask.data)? {
        Set::Images(set) => classified(ask, set, None, model),
        _ => Err(Error::data(format!("{name} holds no images"))),
    }
}

/// Digits with one perturbation, and the network that it is to fool.
pub fn fooled(ask: &Ask) -> Result<Made> {
    let Set::Images(set) = data::load("optdigits", None)? else {
        return Err(Error::data("optdigits holds no images"));
    };
    let deal = deal(ask, set.train_labels.len(), Some(&set.train_labels), None)?;
    if ask.flip > 0 {
        return Err(Error::request(format!(
            "task {} has a network that knows the true labels, so partition={} has none to flip; set partition.flip=0",
            ask.name, ask.partition
        )));
    }
    let margin = [Margin::Hinge, Margin::Logistic][ask.args.choice("margin", &["hinge", "logistic"])?];
    let network = image_data(set.clone())?;
    Ok(plain(Fool::new(ask.name, network, set, margin, deal)?))
}

/// Vowels, each row a picture of one line.
pub fn vowels<M: Model<Data = ImageData>>(ask: &Ask, model: M) -> Result<Made> {
    let Set::Dense(DenseSet { train, test, features, classes }) = data::load("vowel", None)? else {
        return Err(Error::data("vowel holds no dense rows"));
    };
    let DenseRows { values: train_pixels, labels: train_labels, clients } = train;
    let DenseRows { values: test_pixels, labels: test_labels, .. } = test;
    let (channels, height, width) = (1, 1, features);
    let set = ImageSet { train_pixels, train_labels, test_pixels, test_labels, channels, height, width, classes };
    classified(ask, set, Some(&clients), model)
}

fn classified<M: Model<Data = ImageData>>(ask: &Ask, set: ImageSet, clients: Option<&[u32]>, model: M) -> Result<Made> {
    let deal = deal(ask, set.train_labels.len(), Some(&set.train_labels), clients)?;
    let mut set = set;
    for row in flipped(&deal, ask.flip)? {
        let label = &mut set.train_labels[row as usize];
        *label = set.classes as u32 - 1 - *label;
    }
    Ok(plain(model.task(ask.name, image_data(set)?, deal)))
}

/// Pictures as networks take them.
fn image_data(set: ImageSet) -> Result<ImageData> {
    let ImageSet { train_pixels, train_labels, test_pixels, test_labels, channels, height, width, classes } = set;
    let of = |pixels: Vec<f32>, labels: Vec<u32>| Images {
        pixels: pixels.into(),
        labels: labels.into(),
        channels,
        height,
        width,
        classes,
    };
    ImageData::new(of(train_pixels, train_labels), of(test_pixels, test_labels))
}

/// Plays as one text; its clients are those who speak.
pub fn text<M: Model<Data = Text> + Sample>(ask: &Ask, model: M) -> Result<Made> {
    without_labels(ask)?;
    let name = if ask.data.is_some() { "shakespeare-plays" } else { "shakespeare-tiny" };
    let Set::Text(set) = data::load(name, ask.data)? else {
        return Err(Error::data(format!("{name} holds no text")));
    };
    let rows = speaking(&set);
    let deal = deal(ask, rows.len(), None, Some(&rows))?;
    let data = Text::new(set.train, set.test, set.symbols, WINDOW)?;
    Ok(written(ask, model, data, deal))
}

/// Plays by role; no row reaches from one role into another.
pub fn roles<M: Model<Data = Text> + Sample>(ask: &Ask, model: M) -> Result<Made> {
    without_labels(ask)?;
    let Set::Roles(set) = data::load("shakespeare-roles", None)? else {
        return Err(Error::data("shakespeare-roles holds no roles"));
    };
    let rows = set.windows(ROLE_WINDOW);
    let deal = deal(ask, rows.clients.len(), None, Some(&rows.clients))?;
    let text: Arc<[u8]> = rows.text.into();
    let data = Text::new(Arc::clone(&text), text, set.symbols, ROLE_WINDOW)?.beginning_at(rows.train, rows.test)?;
    Ok(written(ask, model, data, deal))
}

/// A character model on a text, with what writes more of it.
fn written<M: Model<Data = Text> + Sample>(ask: &Ask, model: M, data: Text, deal: Deal) -> Made {
    let (writer, of) = (model.clone(), data.clone());
    let write: Writer = Box::new(move |parameters, prompt, length, temperature, stream| {
        writer.sample(&of, parameters, prompt, length, temperature, stream)
    });
    Made { task: Box::new(model.task(ask.name, data, deal)), writer: Some(write) }
}

/// Who speaks at the beginning of each training row.
fn speaking(set: &TextSet) -> Vec<u32> {
    let speakers = speakers(set);
    (0..(set.train.len() - 1) / WINDOW).map(|row| speakers[row * WINDOW]).collect()
}

/// Who speaks each character of a play's text, where a speech begins with a line that ends in a colon after a blank
/// line.
fn speakers(set: &TextSet) -> Vec<u32> {
    let text = set.spell(&set.train);
    let mut names: Vec<&str> = vec![""];
    let (mut who, mut after_blank, mut all) = (0u32, true, Vec::with_capacity(set.train.len()));
    for line in text.split_inclusive('\n') {
        let words = line.trim_end();
        if let Some(name) = words.strip_suffix(':').filter(|_| after_blank) {
            let known = names.iter().position(|n| *n == name);
            who = known.unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            }) as u32;
        }
        after_blank = words.is_empty();
        all.extend(line.chars().map(|_| who));
    }
    all
}

/// Sparse rows as a linear problem takes them.
struct Linear {
    train: Arc<SparseRows>,
    test: Option<Arc<SparseRows>>,
    features: usize,
    deal: Deal,
    data: u64,
}

/// Sparse rows for a linear model: labels are signs, or, where `numbers` allows it and there are more than two, numbers.
fn linear(ask: &Ask, train: SparseSet, test: Option<SparseSet>, numbers: bool) -> Result<Linear> {
    let features = train.features.max(test.as_ref().map_or(0, |t| t.features));
    if ask.features > 0 && features > ask.features {
        return Err(Error::request(format!(
            "the data have a feature {features}, but the model was trained with {}",
            ask.features
        )));
    }
    let features = features.max(ask.features);
    let numbers = numbers && train.signs().is_err();
    let classes = if numbers { None } else { Some(train.classes()) };
    let deal = deal(ask, train.rows(), classes.as_deref(), None)?;
    let data = train.fingerprint();
    let rows = |set: SparseSet, lies: &[u32]| -> Result<Arc<SparseRows>> {
        let mut labels = if numbers { set.labels } else { set.signs()? };
        for &row in lies {
            labels[row as usize] *= -1.0;
        }
        Ok(Arc::new(SparseRows { offsets: set.offsets, columns: set.columns, values: set.values, labels }))
    };
    let lies = flipped(&deal, ask.flip)?;
    let test = test.map(|set| rows(set, &[])).transpose()?;
    Ok(Linear { train: rows(train, &lies)?, test, features, deal, data })
}

/// Logistic regression on sparse rows.
pub fn regression(ask: &Ask, train: SparseSet, test: Option<SparseSet>) -> Result<Made> {
    let Linear { train, test, features, deal, data } = linear(ask, train, test, false)?;
    let l2 = ask.args.positive_or_zero("l2")?;
    let nonconvex = ask.args.positive_or_zero("nonconvex")?;
    Ok(plain(Logistic { name: ask.name.into(), train, test, features, deal, l2, nonconvex, data }))
}

/// Least squares on sparse rows.
pub fn ridge(ask: &Ask, train: SparseSet, test: Option<SparseSet>) -> Result<Made> {
    let Linear { train, test, features, deal, data } = linear(ask, train, test, true)?;
    let l2 = ask.args.positive_or_zero("l2")?;
    Ok(plain(Ridge { name: ask.name.into(), train, test, features, deal, l2, data }))
}

/// The most rows that are held out of made ones.
const HELD_OUT: usize = 10_000;

/// Least squares on rows made from a seed.
pub fn made(ask: &Ask) -> Result<Made> {
    let (rows, features) = (most(&ask.args, "rows", MOST_MADE)?, most(&ask.args, "features", MOST_MADE)?);
    let nonzeros = most(&ask.args, "nonzeros", MOST_MADE)?;
    if ask.features > 0 && features != ask.features {
        return Err(Error::request(format!(
            "the rows have {features} features, but the model was trained with {}; set the task's features to that",
            ask.features
        )));
    }
    let held = (rows / 10).min(HELD_OUT);
    let (noise, seed) = (ask.args.positive_or_zero("noise")?, ask.args.count("seed", 0)?);
    let signs = ask.args.choice("labels", &["signs", "numbers"])? == 0;
    let mut train = MadeRows { rows: rows + held, features, nonzeros, noise, signs, seed }.make()?;
    let test = (held > 0).then(|| Arc::new(train.split_off(rows)));
    let classes = signs.then(|| train.labels.iter().map(|y| u32::from(*y > 0.0)).collect::<Vec<_>>());
    let deal = deal(ask, rows, classes.as_deref(), None)?;
    for row in flipped(&deal, ask.flip)? {
        train.labels[row as usize] *= -1.0;
    }
    let shape = [rows as u64, features as u64, nonzeros as u64, noise.to_bits(), u64::from(signs), seed];
    let data = fingerprint(&format!("{shape:?}"));
    let l2 = ask.args.positive_or_zero("l2")?;
    Ok(plain(Ridge { name: ask.name.into(), train: Arc::new(train), test, features, deal, l2, data }))
}

/// The most rows, features and entries of a row that are made: what fits into a machine.
const MOST_MADE: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::super::entry;
    use super::*;

    #[test]
    fn the_defaults_know_how_many_clients_the_data_have() {
        let clients = |task: &str| entry(task).unwrap().defaults.clients;
        let Set::Text(plays) = data::load("shakespeare-tiny", None).unwrap() else { panic!("a text") };
        let mut speakers = speaking(&plays);
        speakers.sort_unstable();
        speakers.dedup();
        assert_eq!(clients("shakespeare-lstm"), speakers.len());
        assert_eq!(clients("shakespeare-transformer"), speakers.len());
        let Set::Roles(roles) = data::load("shakespeare-roles", None).unwrap() else { panic!("roles") };
        assert_eq!(clients("roles-lstm"), roles.roles.len());
        let Set::Dense(vowels) = data::load("vowel", None).unwrap() else { panic!("dense rows") };
        assert_eq!(clients("vowel-mlp"), vowels.train.clients.iter().max().map_or(0, |c| *c as usize + 1));
    }
}
