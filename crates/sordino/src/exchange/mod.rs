//! How agreement is reached: who sends what to whom so that every rank ends with the same aggregate.

mod chunks;
mod control;
mod frame;
mod gather;
mod hosts;
pub mod lying;
mod reduce;
mod star;
mod two_phase;

pub use control::{decree, report};
pub use frame::Frame;
pub use gather::Gather;
pub use hosts::{Hosts, Means};
pub use lying::{Attack, Lying};
pub use reduce::{Average, Reduce, broadcast, everybodys};
pub use star::{Star, invite, report_beside};
pub use two_phase::TwoPhase;

use std::ops::Range;

use crate::aggregate::{Aggregator, Gathering, Onto};
use crate::base::{Error, Former, Kind, Layout, Purpose, Reader, Result, State, Stream, Use, flat};
use crate::compress::Compressor;
use crate::fabric::{Port, Tag, Way};
use crate::grammar::{self, Element, Entry, Key};

/// Somebody who speaks in a meeting: a worker with its own rank, or a client that a rank plays for this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Whose streams, data and memory it uses: a rank, or a federated client's id.
    pub client: u64,
    /// The rank that speaks for it.
    pub rank: usize,
}

impl Voice {
    /// Every rank with its own voice.
    pub fn ranks(size: usize) -> Vec<Self> {
        (0..size).map(|rank| Self { client: rank as u64, rank }).collect()
    }
}

/// What a meeting works with.
pub struct Talk<'a> {
    /// This rank's end of the fabric.
    pub port: &'a mut dyn Port,
    /// How vectors become messages on the way up or across.
    pub compressor: &'a mut dyn Compressor,
    /// How many become one.
    pub aggregator: &'a mut dyn Aggregator,
    /// The tensors.
    pub layout: &'a Layout,
    /// The run's seed.
    pub seed: u64,
    /// What every frame of this meeting carries and is checked against.
    pub frame: Frame,
    /// What the vectors are for.
    pub purpose: &'a Purpose,
    /// Who speaks, in the order in which they are added up; at least one.
    pub voices: &'a [Voice],
    /// How many speak on average over rounds.
    pub expected: f64,
    /// Whether voices are clients with machines of their own, whoever plays them here: only a star has them.
    pub clients: bool,
    /// Rows per voice, where the aggregator weighs; else empty.
    pub weights: &'a [f32],
}

impl Talk<'_> {
    /// What a message from worker to worker is for.
    fn across(&self) -> Tag {
        Tag::across(self.purpose.clone())
    }

    /// What a message up to the server is for.
    fn up(&self) -> Tag {
        Tag { purpose: self.purpose.clone(), way: if self.clients { Way::FromClient } else { Way::Up } }
    }

    fn weight(&self, voice: usize) -> f32 {
        self.weights.get(voice).copied().unwrap_or(1.0)
    }

    /// The private encoding stream of a client, and the one all share, for this round.
    fn streams(&self, client: u64) -> (Stream, Stream) {
        (
            Stream::new(self.seed, Use::Encode, client, self.frame.round),
            Stream::new(self.seed, Use::Shared, 0, self.frame.round),
        )
    }

    /// Tells the aggregator a voice's vector of `len` entries, as `listen` hears it: added to the running sum as it is
    /// decoded, where the aggregator has one, else decoded into a vector first. `spare` is room for that.
    fn hear(
        &mut self,
        voice: usize,
        len: usize,
        spare: &mut Vec<f32>,
        listen: impl FnOnce(&mut Ear) -> Result<()>,
    ) -> Result<()> {
        let weight = self.weight(voice);
        let (port, compressor) = (&mut *self.port, &mut *self.compressor);
        if let Some(onto) = self.aggregator.onto(weight) {
            return listen(&mut Ear { port, compressor, onto, spare });
        }
        let mut vector = std::mem::take(spare);
        vector.resize(len, 0.0);
        listen(&mut Ear { port, compressor, onto: Onto::First(&mut vector), spare })?;
        self.aggregator.add(&vector, weight);
        *spare = vector;
        Ok(())
    }

    fn gathering(&self, len: usize) -> Gathering {
        Gathering { len, voices: self.voices.len(), expected: self.expected, seed: self.seed, round: self.frame.round }
    }
}

/// Whoever listens to one voice, whose vector may come in pieces.
struct Ear<'a> {
    port: &'a mut dyn Port,
    compressor: &'a mut dyn Compressor,
    onto: Onto<'a>,
    spare: &'a mut Vec<f32>,
}

impl Ear<'_> {
    /// Takes in what a message says of entries `range`, whose layout this is.
    fn take(&mut self, mut body: Reader, layout: &Layout, range: Range<usize>) -> Result<()> {
        match &mut self.onto {
            Onto::First(sum) => self.compressor.decode(&mut body, layout, &mut sum[range])?,
            Onto::More(sum, weight) => {
                self.compressor.add(&mut body, layout, *weight, &mut sum[range], self.spare)?;
            }
        }
        body.done()
    }
}

/// How agreement is reached.
///
/// # Contract
/// `begin` takes what one of this rank's voices gives and overwrites `said` with what it was understood to have said;
/// it is called once per voice, in the order of `talk.voices`. `finish` overwrites `agreed` with the aggregate, the
/// same bits on every rank, and returns the flags that rank 0 sent along; where only the agreement shows what was said
/// (codes of two phases), it overwrites `said` too. Between the two the exchange may hold messages in flight; what it
/// holds is part of its state. A vector that is not finite is refused as diverged before anything is sent, on the rank
/// that has it; in place, where the sum tells all, on every rank.
pub trait Exchange: Send {
    /// Sends what a voice of this rank gives.
    fn begin(&mut self, talk: &mut Talk, voice: Voice, given: &[f32], said: &mut [f32]) -> Result<()>;

    /// Between the two, as often as one likes: does what follows on words that are here already, and waits for none. What
    /// is agreed on does not depend on it.
    fn progress(&mut self, _talk: &mut Talk) -> Result<()> {
        Ok(())
    }

    /// Waits for the others and agrees.
    fn finish(&mut self, talk: &mut Talk, said: &mut [f32], agreed: &mut [f32]) -> Result<u8>;

    /// Where what is given is needed for nothing else, and the code is lossless: what overwrites it with what all agree on,
    /// in the place of `begin` and `finish`. None where the two are needed.
    fn in_place(&mut self) -> Option<&mut dyn InPlace> {
        None
    }

    /// ‖what was agreed on and not yet told to everybody‖₂, where this rank keeps it.
    fn owed(&self) -> f64 {
        0.0
    }

    /// Puts what is remembered between rounds into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back; here nothing, and it is an error if there is something.
    fn load(&mut self, state: &State, _layout: &Layout) -> Result<()> {
        match state.vectors.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::mismatch(format!(
                "the checkpoint's exchange remembers `{name}`, which the model is owed, and this one remembers nothing: it \
                 would be lost; go on with the exchange of that run (`chunk` is of two_phase)"
            ))),
        }
    }

    /// What a rank of a run with another number of ranks takes back: here what is the same on all.
    fn deal(&mut self, former: &Former, _rank: usize) -> Result<State> {
        former.same_but(&[])
    }
}

/// An exchange by one call on one vector.
pub trait InPlace {
    /// Overwrites `vector` with the aggregate, and returns rank 0's flags. Where the aggregate is not finite all ranks refuse
    /// it as diverged.
    fn overwrite(&mut self, talk: &mut Talk, vector: &mut Vec<f32>) -> Result<u8>;
}

/// What builds an exchange once the way down is built by its caller.
pub enum Plan {
    /// All messages to all ranks.
    Gather {
        /// Entries of a piece.
        piece: usize,
    },
    /// Reduce-scatter and all-gather of a linear code.
    Reduce {
        /// By the engine's own collective instead of ours.
        engine: bool,
        /// Entries of a piece.
        piece: usize,
    },
    /// Through the server on rank 0, with a compressor and a feedback on the way down.
    Star {
        /// The compressor on the way down.
        down: Element,
        /// The feedback on the way down.
        feedback: Element,
    },
    /// Every rank the server of one chunk.
    TwoPhase {
        /// The compressor on the way down.
        down: Element,
        /// The feedback of owners.
        feedback: Element,
        /// Entries of a piece.
        piece: usize,
    },
    /// `reduce` where compressor and aggregator are linear, else `gather` or `two_phase`.
    Auto,
}

/// Entries of a piece, unless told: dense, four megabytes.
pub const PIECE: usize = 1 << 20;

/// What every exchange takes that sends a vector in pieces.
const IN_PIECES: Key = Key {
    name: "piece",
    default: "1048576",
    about: "entries of a piece: one travels while the next is coded; changes no bit",
};

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Plan>] = &[
    &Entry {
        name: "auto",
        about: "reduce where compressor and aggregator are linear, else gather or two_phase, whichever is fewer bytes a rank",
        keys: &[],
        build: |_| Ok(Plan::Auto),
    },
    &Entry {
        name: "gather",
        about: "every rank's message to every rank; right for few workers",
        keys: &[IN_PIECES],
        build: |args| Ok(Plan::Gather { piece: args.count("piece", 1)? as usize }),
    },
    &Entry {
        name: "reduce",
        about: "rank r adds up chunk r and sends it back: 2(N-1)/N of the vector each way, linear codes only",
        keys: &[
            Key {
                name: "by",
                default: "ranks",
                about: "ranks: in rank order, the same bits on every fabric; engine: the all-reduce of the fabric's engine, in its order",
            },
            IN_PIECES,
        ],
        build: |args| {
            let engine = args.choice("by", &["ranks", "engine"])? == 1;
            Ok(Plan::Reduce { engine, piece: args.count("piece", 1)? as usize })
        },
    },
    &Entry {
        name: "star",
        about: "through a server on rank 0, which may compress on the way down",
        keys: &[
            Key { name: "down", default: "dense", about: "compressor on the way down" },
            Key { name: "feedback", default: "none", about: "feedback of the server on the way down" },
        ],
        build: |args| {
            Ok(Plan::Star { down: args.element("down")?.clone(), feedback: args.element("feedback")?.clone() })
        },
    },
    &Entry {
        name: "two_phase",
        about: "every rank the server of one chunk: 2(N-1)/N of a message each way, whatever N",
        keys: &[
            Key { name: "down", default: "auto", about: "compressor of owners on the way down; auto: the way up's" },
            Key {
                name: "feedback",
                default: "auto",
                about: "residual, ef21 or none of owners; auto: as workers have it, none where nothing is lost",
            },
            IN_PIECES,
        ],
        build: |args| {
            let (down, feedback) = (args.element("down")?.clone(), args.element("feedback")?.clone());
            Ok(Plan::TwoPhase { down, feedback, piece: args.count("piece", 1)? as usize })
        },
    },
];

/// All ranks but this one, from the next on: whom to send to so that nobody is sent everything at once.
fn around(port: &dyn Port) -> impl Iterator<Item = usize> + use<> {
    let (rank, size) = (port.rank(), port.size());
    (1..size).map(move |step| (rank + step) % size)
}

/// The plan that an element names.
pub fn plan(element: &Element) -> Result<Plan> {
    grammar::build("exchange", ENTRIES, element)
}

/// Refuses a vector that is not finite: it is a finding about training, not a message.
pub fn refuse_unfinite(given: &[f32]) -> Result<()> {
    if flat::is_finite(given) {
        return Ok(());
    }
    Err(diverged("a vector to be sent"))
}

fn diverged(what: &str) -> Error {
    Error::new(Kind::Diverged, format!("{what} is not finite: training has diverged; a lower optim.rate may help"))
}

#[cfg(test)]
mod tests;
