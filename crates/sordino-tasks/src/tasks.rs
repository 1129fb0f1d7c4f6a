//! The tasks: what there is, with what suits each.

mod fool;
mod rows;

use std::path::{Path, PathBuf};

use sordino::base::Stream;
use sordino::grammar::{Args, Element, Key, Listing, unknown};
use sordino::recipe::{Defaults, flips};
use sordino::workload::{Polynomial, Quadratic, Task, Valley};
use sordino::{Error, Result};
use sordino_lab::data::{self, Set, SparsePair, libsvm};
use sordino_nets::{CharLstm, CharTransformer, Cnn, Mlp, ResNet20};

use rows::{fooled, images, made, regression, ridge, roles, text, vowels};

/// A task as it is listed.
pub struct Entry {
    /// Name, sentence, keys.
    pub listing: Listing,
    /// What `auto` stands for.
    pub defaults: Defaults,
    /// How long a run is unless told: passes over the rows, or steps where rows have no meaning.
    pub length: Length,
    /// How often a run is looked at unless told: a look at a large model costs as much as many steps.
    pub looks: u64,
    make: fn(&Ask) -> Result<Made>,
}

/// How long a run is unless told.
#[derive(Clone, Copy)]
pub enum Length {
    /// Passes over the training rows.
    Epochs(f64),
    /// Local steps of each worker.
    Steps(u64),
}

/// What a task is made of.
struct Ask<'a> {
    name: &'static str,
    args: Args,
    partition: &'a Element,
    /// The last clients whose labels are flipped.
    flip: usize,
    /// Who rows are dealt to: the workers, or federated clients.
    clients: usize,
    seed: u64,
    data: Option<&'a Path>,
    /// Features that a linear model has at least.
    features: usize,
}

/// Text that a trained model writes.
pub type Writer = Box<dyn Fn(&[f32], &str, usize, f64, &mut Stream) -> Result<String>>;

/// A task that has been made.
pub struct Made {
    /// The task.
    pub task: Box<dyn Task>,
    /// What writes text with a trained model, for character models.
    pub writer: Option<Writer>,
}

const fn task(name: &'static str, about: &'static str, keys: &'static [Key]) -> Listing {
    Listing { name, about, keys }
}

const L2: Key = Key { name: "l2", default: "0.001", about: "weight of half the squared norm of x" };
const NONCONVEX: Key = Key { name: "nonconvex", default: "0", about: "weight of the sum of x^2/(1 + x^2)" };
const DROPOUT: Key = Key { name: "dropout", default: "0", about: "probability that a unit is left out in training" };

/// Rate, Adam's rate, momentum, rows a step, threshold on gradient norms of neural tasks.
const fn neural(sgd_rate: f64, adam_rate: f64, batch: usize, threshold: f64) -> Defaults {
    Defaults {
        sgd_rate,
        adam_rate,
        momentum: 0.9,
        anneal: "cosine(warmup=0.05)",
        batch,
        threshold,
        tau: threshold,
        ..Defaults::PLAIN
    }
}

/// Speakers of the 8 plays that hold a training row.
const SPEAKERS: usize = 284;

/// Rows of length 1 and rows of many ones are far apart: the smaller rate is for the latter.
const RIDGE: Defaults = Defaults { sgd_rate: 0.05, adam_rate: 0.01, tau: 0.1, ..Defaults::PLAIN };

const LOGISTIC: Defaults = Defaults { sgd_rate: 1.0, adam_rate: 0.01, tau: 0.1, ..Defaults::PLAIN };

/// Every task, in alphabetical order.
pub const ENTRIES: &[Entry] = &[
    Entry {
        listing: task("digits-cnn", "small CNN on optdigits, 8x8 digits (embedded)", &[DROPOUT]),
        defaults: neural(0.03, 2e-3, 32, 2.0),
        length: Length::Epochs(12.0),
        looks: 25,
        make: |ask| images(ask, "optdigits", Cnn { dropout: ask.args.fraction("dropout")?, ..Cnn::default() }),
    },
    Entry {
        listing: task("digits-mlp", "MLP on optdigits, 8x8 digits (embedded)", &[DROPOUT]),
        defaults: neural(0.1, 2e-3, 32, 2.0),
        length: Length::Epochs(40.0),
        looks: 50,
        make: |ask| images(ask, "optdigits", Mlp { dropout: ask.args.fraction("dropout")?, ..Mlp::default() }),
    },
    Entry {
        listing: task(
            "fashion-cnn",
            "small CNN on 2000 images of Fashion-MNIST (embedded); all with --data",
            &[DROPOUT],
        ),
        defaults: neural(0.02, 1e-3, 32, 2.0),
        length: Length::Epochs(10.0),
        looks: 20,
        make: |ask| images(ask, "fashion", Cnn { dropout: ask.args.fraction("dropout")?, ..Cnn::default() }),
    },
    Entry {
        listing: task(
            "fashion-resnet20",
            "ResNet-20 on 2000 images of Fashion-MNIST (embedded); all with --data",
            &[Key { name: "width", default: "16", about: "channels of the first stage" }],
        ),
        defaults: neural(0.1, 2e-3, 32, 4.0),
        length: Length::Epochs(6.0),
        looks: 5,
        make: |ask| images(ask, "fashion", ResNet20 { width: most(&ask.args, "width", 1024)? }),
    },
    Entry {
        listing: task(
            "fool-digits-mlp",
            "one perturbation of all optdigits that fools an MLP, known by its outputs alone (embedded)",
            &[Key { name: "margin", default: "hinge", about: "loss of the margin: hinge or logistic" }],
        ),
        defaults: Defaults { sgd_rate: 0.1, adam_rate: 0.01, ..Defaults::PLAIN },
        length: Length::Steps(1000),
        looks: 25,
        make: fooled,
    },
    Entry {
        listing: task("logistic", "logistic regression over a LibSVM file, named by --data FILE", &[L2, NONCONVEX]),
        defaults: LOGISTIC,
        length: Length::Steps(500),
        looks: 50,
        make: |ask| {
            let path = ask.data.ok_or_else(|| {
                Error::request("task logistic needs a LibSVM file: add --data FILE, or use task mushrooms-logistic")
            })?;
            regression(ask, libsvm::read(path)?, None)
        },
    },
    Entry {
        listing: task(
            "made-ridge",
            "least squares with l2 on sparse rows made from a seed, as many as asked for; it has a dual",
            &[
                Key {
                    name: "rows",
                    default: "10000",
                    about: "training rows; a tenth more, 10000 at most, is held out",
                },
                Key { name: "features", default: "1000", about: "features; a quarter of them matters" },
                Key { name: "nonzeros", default: "10", about: "entries of a row, which has length 1" },
                L2,
                Key {
                    name: "noise",
                    default: "0.1",
                    about: "deviation of the noise in labels, relative to the rest's",
                },
                Key { name: "labels", default: "signs", about: "signs, or numbers" },
                Key { name: "seed", default: "0", about: "what the rows are made from, whatever the run's seed" },
            ],
        ),
        defaults: Defaults { sgd_rate: 1.0, ..RIDGE },
        length: Length::Epochs(20.0),
        looks: 50,
        make: made,
    },
    Entry {
        listing: task(
            "mushrooms-logistic",
            "logistic regression on the mushrooms data, 126 features (embedded)",
            &[L2, NONCONVEX],
        ),
        defaults: LOGISTIC,
        length: Length::Steps(500),
        looks: 50,
        make: |ask| match data::load("agaricus", None)? {
            Set::Sparse(SparsePair { train, test }) => regression(ask, train, Some(test)),
            _ => Err(Error::data("agaricus holds no sparse rows")),
        },
    },
    Entry {
        listing: task(
            "mushrooms-ridge",
            "least squares with l2 on the mushrooms data, 126 features (embedded); it has a dual",
            &[L2],
        ),
        defaults: RIDGE,
        length: Length::Epochs(20.0),
        looks: 50,
        make: |ask| match data::load("agaricus", None)? {
            Set::Sparse(SparsePair { train, test }) => ridge(ask, train, Some(test)),
            _ => Err(Error::data("agaricus holds no sparse rows")),
        },
    },
    Entry {
        listing: task(
            "polynomial",
            "sums of fourth powers, whose curvature grows with the gradient",
            &[
                Key { name: "dim", default: "1", about: "number of parameters" },
                Key { name: "spread", default: "0", about: "standard deviation of the workers' centres" },
                Key { name: "noise", default: "1", about: "half width of the gradient noise" },
                Key { name: "start", default: "5", about: "every coordinate of the starting point" },
            ],
        ),
        defaults: Defaults { sgd_rate: 0.05, threshold: 2.0, ..Defaults::PLAIN },
        length: Length::Steps(2000),
        looks: 50,
        make: |ask| {
            Ok(plain(Polynomial {
                dim: most(&ask.args, "dim", 100_000_000)?,
                spread: ask.args.positive_or_zero("spread")?,
                noise: ask.args.positive_or_zero("noise")?,
                start: ask.args.number("start")?,
            }))
        },
    },
    Entry {
        listing: task(
            "quadratic",
            "diagonal quadratics with a chosen spectrum and heterogeneity",
            &[
                Key { name: "dim", default: "20", about: "number of parameters" },
                Key { name: "low", default: "0.1", about: "smallest eigenvalue" },
                Key { name: "high", default: "1", about: "largest eigenvalue" },
                Key { name: "spread", default: "1", about: "standard deviation of the workers' centres" },
                Key { name: "skew", default: "0", about: "how much the workers' spectra differ, below 1" },
                Key { name: "noise", default: "0", about: "standard deviation of the gradient noise" },
                Key { name: "start", default: "0", about: "every coordinate of the starting point" },
            ],
        ),
        defaults: Defaults { sgd_rate: 0.1, adam_rate: 0.05, tau: 1.0, threshold: 10.0, ..Defaults::PLAIN },
        length: Length::Steps(400),
        looks: 50,
        make: |ask| {
            Ok(plain(Quadratic {
                dim: most(&ask.args, "dim", 100_000_000)?,
                low: ask.args.positive("low")?,
                high: ask.args.positive("high")?,
                spread: ask.args.positive_or_zero("spread")?,
                skew: ask.args.fraction("skew")?,
                noise: ask.args.positive_or_zero("noise")?,
                start: ask.args.number("start")?,
            }))
        },
    },
    Entry {
        listing: task(
            "ridge",
            "least squares with l2 over a LibSVM file, named by --data FILE; it has a dual. Two different labels are -1 and +1",
            &[L2],
        ),
        defaults: RIDGE,
        length: Length::Epochs(20.0),
        looks: 50,
        make: |ask| {
            let path = ask.data.ok_or_else(|| {
                Error::request(
                    "task ridge needs a LibSVM file: add --data FILE, or use task mushrooms-ridge or made-ridge",
                )
            })?;
            ridge(ask, libsvm::read(path)?, None)
        },
    },
    Entry {
        listing: task(
            "roles-lstm",
            "LSTM that predicts the next character of 1426 roles in 38 plays, each a client (embedded)",
            &[DROPOUT],
        ),
        defaults: Defaults { clients: 1426, ..neural(1.0, 5e-3, 16, 1.0) },
        length: Length::Epochs(1.0),
        looks: 10,
        make: |ask| roles(ask, CharLstm { dropout: ask.args.fraction("dropout")?, ..CharLstm::default() }),
    },
    Entry {
        listing: task("shakespeare-lstm", "LSTM that predicts the next character of 8 plays (embedded)", &[DROPOUT]),
        defaults: Defaults { clients: SPEAKERS, ..neural(1.0, 5e-3, 16, 1.0) },
        length: Length::Epochs(1.0),
        looks: 10,
        make: |ask| text(ask, CharLstm { dropout: ask.args.fraction("dropout")?, ..CharLstm::default() }),
    },
    Entry {
        listing: task(
            "shakespeare-transformer",
            "Transformer that predicts the next character of 8 plays (embedded)",
            &[DROPOUT],
        ),
        defaults: Defaults { clients: SPEAKERS, ..neural(0.1, 3e-3, 16, 1.0) },
        length: Length::Epochs(1.0),
        looks: 10,
        make: |ask| text(ask, CharTransformer { dropout: ask.args.fraction("dropout")?, ..CharTransformer::default() }),
    },
    Entry {
        listing: task(
            "valley",
            "a line of minima of which some are flatter, L(u, v) = (1 + u^2) v^2 / 2, with noise across it",
            &[
                Key { name: "noise", default: "1", about: "standard deviation of the gradient noise across" },
                Key { name: "start", default: "1", about: "u at the start; the flattest minimum has u = 0" },
                Key { name: "across", default: "0", about: "v at the start" },
            ],
        ),
        defaults: Defaults { sgd_rate: 0.05, ..Defaults::PLAIN },
        length: Length::Steps(4000),
        looks: 50,
        make: |ask| {
            Ok(plain(Valley {
                noise: ask.args.positive_or_zero("noise")?,
                start: ask.args.number("start")?,
                across: ask.args.number("across")?,
            }))
        },
    },
    Entry {
        listing: task("vowel-mlp", "MLP on 11 vowels by 15 speakers, each a client (embedded)", &[DROPOUT]),
        defaults: Defaults { clients: 15, ..neural(0.1, 2e-3, 11, 2.0) },
        length: Length::Epochs(100.0),
        looks: 50,
        make: |ask| vowels(ask, Mlp { dropout: ask.args.fraction("dropout")?, ..Mlp::default() }),
    },
];

/// The entry of that name.
pub fn entry(name: &str) -> Result<&'static Entry> {
    let names = || ENTRIES.iter().map(|e| e.listing.name);
    ENTRIES.iter().find(|e| e.listing.name == name).ok_or_else(|| unknown("task", name, names()))
}

impl Entry {
    /// Makes the task for so many clients: the workers, where all of them take part.
    pub fn make(
        &self,
        element: &Element,
        partition: &Element,
        clients: usize,
        seed: u64,
        data: Option<&PathBuf>,
        features: usize,
    ) -> Result<Made> {
        let args = self.listing.resolve(element)?;
        let data = data.map(PathBuf::as_path);
        if let Some(path) = data.filter(|p| !p.exists()) {
            return Err(Error::request(format!("there is no file or folder {}", path.display())));
        }
        let embedded = [
            "digits-cnn",
            "digits-mlp",
            "fool-digits-mlp",
            "made-ridge",
            "mushrooms-logistic",
            "mushrooms-ridge",
            "polynomial",
            "quadratic",
            "roles-lstm",
            "valley",
            "vowel-mlp",
        ];
        if data.is_some() && embedded.contains(&self.listing.name) {
            return Err(Error::request(format!(
                "task {} brings its own data and takes no --data; logistic, ridge, fashion-* and shakespeare-* do",
                self.listing.name
            )));
        }
        if partition.name != "iid" && ["polynomial", "quadratic", "valley"].contains(&self.listing.name) {
            return Err(Error::request(format!(
                "task {} has no rows to deal, so partition={partition} means nothing; its key `spread` makes workers differ",
                self.listing.name
            )));
        }
        let flip = flips(partition)?;
        (self.make)(&Ask { name: self.listing.name, args, partition, flip, clients, seed, data, features })
            .map_err(|e| e.within(format!("task {element}")))
    }
}

/// A count of at most so many: what fits into a machine.
fn most(args: &Args, key: &str, most: u64) -> Result<usize> {
    let count = args.count(key, 1)?;
    if count > most {
        return Err(Error::request(format!("`{key}` is at most {most}, {count} came")));
    }
    Ok(count as usize)
}

fn plain(task: impl Task + 'static) -> Made {
    Made { task: Box::new(task), writer: None }
}
