//! The axes: names, neutral elements, and what may be chosen on each.

use crate::base::{Error, Result};
use crate::exchange::{Attack, lying};
use crate::grammar::{Args, Element, Entry, Key, Listing, unknown};
use crate::optim::{CURVES, PROXES};
use crate::{
    aggregate, buffers, compress, estimate, exchange, fabric, feedback, local, optim, participation, payload,
    placement, privacy, schedule, staleness, topology,
};

/// One axis.
pub struct Axis {
    /// Its name: TOML key, `--set` key and Python keyword.
    pub name: &'static str,
    /// The question it answers.
    pub about: &'static str,
    /// The neutral element, as written.
    pub neutral: &'static str,
    /// What may be chosen; empty where the faces know (tasks).
    pub elements: fn() -> Vec<Listing>,
    /// Keys that every element of the axis takes.
    pub common: &'static [Key],
}

fn list<T>(entries: &[&Entry<T>]) -> Vec<Listing> {
    entries.iter().map(|e| e.listing()).collect()
}

const fn only(name: &'static str, about: &'static str) -> Listing {
    Listing { name, about, keys: &[] }
}

/// Who lies, and how many threads code a vector, whatever ranks talk through.
const BESIDES: &[Key] = &[
    Key { name: "attack", default: "none", about: "how liars lie: none, sign_flip, alie, inner_product, random" },
    Key { name: "liars", default: "1", about: "how many lie: the last ones; they hear everything first" },
    Key { name: "coders", default: "1", about: "threads of a rank that code one long vector, 1 or 2; changes no bit" },
];

/// The element without these keys, and what they say.
fn besides(fabric: &Element) -> Result<(Element, Args)> {
    let (mut own, mut common) = (fabric.clone(), Element::word("fabric"));
    for key in BESIDES {
        common.named.extend(own.named.remove_entry(key.name));
    }
    Ok((own, Listing { name: "fabric", about: "", keys: BESIDES }.resolve(&common)?))
}

/// Whether two threads code a vector.
pub(super) fn two_coders(fabric: &Element) -> Result<bool> {
    match besides(fabric)?.1.count("coders", 1)? {
        1 => Ok(false),
        2 => Ok(true),
        coders => Err(Error::request(format!("`coders` of `fabric` must be 1 or 2, but {coders} came"))),
    }
}

/// The element without the keys that every fabric takes, and the attack with its number of liars, if there is one.
pub(super) fn attack(fabric: &Element) -> Result<(Element, Option<(Attack, usize)>)> {
    let (own, args) = besides(fabric)?;
    let (attack, liars) = (args.element("attack")?, args.count("liars", 1)? as usize);
    let attack = if *attack == Element::word("none") { None } else { Some((lying::build(attack)?, liars)) };
    Ok((own, attack))
}

/// How training rows come to workers. Partitions are made above the wall, where the data is.
const PARTITIONS: &[Listing] = &[
    only("contiguous", "rows in file order, in equal parts"),
    Listing {
        name: "dirichlet",
        about: "label skew: each class is dealt in proportions drawn from a Dirichlet distribution",
        keys: &[Key { name: "alpha", default: "0.5", about: "concentration; small is skewed" }],
    },
    only("iid", "dealt anew each epoch, so that every worker sees the same distribution"),
    only("natural", "by the data's own clients"),
];

/// What every partition takes besides.
const FLIP: &[Key] = &[Key {
    name: "flip",
    default: "0",
    about: "the last so many clients train on labels turned round: y becomes classes - 1 - y",
}];

/// How many clients train on flipped labels.
pub fn flips(partition: &Element) -> Result<usize> {
    let mut flip = Element::word(&partition.name);
    flip.named.extend(partition.named.get_key_value("flip").map(|(key, value)| (key.clone(), value.clone())));
    let listing = Listing { name: "partition", about: "", keys: FLIP };
    Ok(listing.resolve(&flip)?.count("flip", 0)? as usize)
}

/// Every axis, in the order of a recipe.
pub const AXES: &[Axis] = &[
    Axis { name: "task", about: "what is trained", neutral: "quadratic", elements: Vec::new, common: &[] },
    Axis {
        name: "partition",
        about: "how training rows come to workers",
        neutral: "iid",
        elements: || PARTITIONS.to_vec(),
        common: FLIP,
    },
    Axis {
        name: "optim",
        about: "what one step does to an update: the base optimizer",
        neutral: "sgd",
        elements: || list(optim::ENTRIES),
        common: &[],
    },
    Axis {
        name: "local",
        about: "how a worker spends its silent steps",
        neutral: "descent",
        elements: || list(local::ENTRIES),
        common: &[],
    },
    Axis {
        name: "schedule",
        about: "when to speak",
        neutral: "constant",
        elements: || list(schedule::ENTRIES),
        common: &[],
    },
    Axis {
        name: "payload",
        about: "what is offered, and in which unit",
        neutral: "displacement",
        elements: || {
            [vec![only("auto", "parameters where they travel as they are, else displacement")], list(payload::ENTRIES)]
                .concat()
        },
        common: &[],
    },
    Axis {
        name: "compress",
        about: "a vector as few bytes",
        neutral: "dense",
        elements: || list(compress::ENTRIES),
        common: compress::COMMON,
    },
    Axis {
        name: "feedback",
        about: "what was not said is remembered",
        neutral: "none",
        elements: || list(feedback::ENTRIES),
        common: &[],
    },
    Axis {
        name: "aggregate",
        about: "many become one",
        neutral: "mean",
        elements: || list(aggregate::ENTRIES),
        common: &[],
    },
    Axis {
        name: "exchange",
        about: "how agreement is reached",
        neutral: "gather",
        elements: || list(exchange::ENTRIES),
        common: &[],
    },
    Axis {
        name: "topology",
        about: "who may talk to whom",
        neutral: "complete",
        elements: || list(topology::ENTRIES),
        common: &[],
    },
    Axis {
        name: "participation",
        about: "who is asked and when enough have come",
        neutral: "everyone",
        elements: || list(participation::ENTRIES),
        common: &[],
    },
    Axis {
        name: "staleness",
        about: "how old a word may be: in updates of a server that serves whoever comes, or in local steps",
        neutral: "fresh",
        elements: || list(staleness::ENTRIES),
        common: &[],
    },
    Axis {
        name: "privacy",
        about: "what hides one contribution",
        neutral: "none",
        elements: || list(privacy::ENTRIES),
        common: &[],
    },
    Axis {
        name: "outer",
        about: "what the agreed displacement goes through before it moves the model",
        neutral: "none",
        elements: || list(optim::OUTER),
        common: &[],
    },
    Axis {
        name: "buffers",
        about: "what a meeting does to running statistics",
        neutral: "average",
        elements: || list(buffers::ENTRIES),
        common: &[],
    },
    Axis {
        name: "fabric",
        about: "what ranks talk through",
        neutral: "threads",
        elements: || list(fabric::ENTRIES),
        common: BESIDES,
    },
    Axis {
        name: "placement",
        about: "where the layers live",
        neutral: "replicate",
        elements: || list(placement::ENTRIES),
        common: &[],
    },
];

/// Keys whose values are elements of their own, as if each were an axis: `local.estimate=micro_norms(8)`.
pub const NESTED: &[Axis] = &[
    Axis {
        name: "optim.schedule",
        about: "the rate over a run",
        neutral: "constant",
        elements: || CURVES.iter().map(|curve| curve.listing()).collect(),
        common: &[],
    },
    Axis {
        name: "optim.prox",
        about: "a penalty in closed form that ends a step",
        neutral: "none",
        elements: || list(PROXES),
        common: &[],
    },
    Axis {
        name: "local.estimate",
        about: "where gradients come from",
        neutral: "plain",
        elements: || list(estimate::ENTRIES),
        common: &[],
    },
    Axis {
        name: "fabric.attack",
        about: "how liars lie",
        neutral: "none",
        elements: || [vec![only("none", "nobody lies")], list(lying::ENTRIES)].concat(),
        common: &[],
    },
];

/// The axis of that name.
pub fn find(name: &str) -> Result<&'static Axis> {
    AXES.iter().find(|a| a.name == name).ok_or_else(|| unknown("axis", name, AXES.iter().map(|a| a.name)))
}

impl Axis {
    /// Puts positional arguments under their keys and refuses unknown names. Tasks are left to the faces.
    pub fn normalise(&self, element: &Element) -> Result<Element> {
        let elements = (self.elements)();
        if elements.is_empty() {
            return Ok(element.clone());
        }
        let listing = elements.iter().find(|l| l.name == element.name).ok_or_else(|| {
            unknown(&format!("element of `{}`", self.name), &element.name, elements.iter().map(|l| l.name))
        })?;
        let mut own = element.clone();
        let common: Vec<_> = self.common.iter().filter_map(|k| own.named.remove_entry(k.name)).collect();
        // A slip is compared with the common keys too.
        let known = || listing.keys.iter().chain(self.common).map(|k| k.name);
        if let Some(key) = own.named.keys().find(|key| !known().any(|k| k == *key)) {
            return Err(unknown(&format!("key of `{}`", listing.name), key, known()));
        }
        let mut own = listing.normalise(&own)?;
        own.named.extend(common);
        Ok(own)
    }

    /// The listing of an element with the common keys added.
    pub fn listing(&self, name: &str) -> Option<(Listing, &'static [Key])> {
        (self.elements)().into_iter().find(|l| l.name == name).map(|l| (l, self.common))
    }
}
