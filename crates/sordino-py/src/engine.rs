//! A session's inside: the engine's session, what it stands on, and what it does when it is asked.

use std::sync::Arc;

use sordino::base::{Kind, Layout, Ledger, Link, State};
use sordino::engine::{Pace, Session, Told};
use sordino::fabric::{Clock, Port};
use sordino::feedback;
use sordino::optim::Anneal;
use sordino::placement::Placement;
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::Workload;
use sordino::{Error, Result};
use sordino_lab::checkpoint;
use sordino_lab::record::{FlowRow, ledger_of};

use crate::port::{Causes, Heard};
use crate::record::Record;
use crate::workload::{Given, Gradient};

/// Where a session stands in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Between two rounds.
    Between,
    /// A round has begun; how long it is has not been asked.
    Begun,
    /// The caller makes so many steps, since a moment.
    Stepping(u64, f64),
    /// What the caller's steps led to is on its way.
    Spoken,
    /// An error left a round half done.
    Broken,
}

/// The session of one rank with all that it stands on.
pub struct Engine {
    pub session: Session,
    pub workload: Box<dyn Workload>,
    /// The choices as they are carried out.
    pub recipe: Recipe,
    pub layout: Layout,
    pub clock: Arc<dyn Clock>,
    /// Who tells gradients.
    pub gradient: Gradient,
    /// Where Python's exceptions wait.
    pub causes: Causes,
    /// What came in.
    pub heard: Heard,
    pub stage: Stage,
    /// Whether our optimizer makes the steps.
    pub own_optimizer: bool,
    pub looks_ahead: bool,
    pub seed: u64,
    pub rank: usize,
    pub ranks: usize,
    /// Seconds that a caller's own steps took.
    pub stepped: f64,
    /// What the last round told.
    pub last: Option<Told>,
    pub record: Record,
    /// The rate over a run, for a caller without one.
    anneal: Anneal,
}

/// What a session is made from.
pub struct Asked {
    pub recipe: Recipe,
    pub given: Given,
    pub port: Box<dyn Port>,
    pub clock: Arc<dyn Clock>,
    pub seed: u64,
    pub steps: Option<u64>,
    pub own_optimizer: bool,
    pub heard: Heard,
    /// Whether the port has a collective of an engine's own.
    pub engine: bool,
}

impl Engine {
    /// The session of the rank at a port.
    pub fn new(asked: Asked) -> Result<Self> {
        let Asked { mut recipe, given, port, clock, seed, steps, own_optimizer, heard, engine } = asked;
        let (rank, ranks) = (port.rank(), port.size());
        settle(&mut recipe, &given, ranks, steps, own_optimizer)?;
        if recipe.needs_engine()? && !engine {
            return Err(Error::request(
                "`exchange=reduce(engine)` asks for the port's own collective, and this port has no all_reduce(x); use \
                 exchange=reduce",
            ));
        }
        let (layout, gradient, causes) = (given.layout.clone(), given.told.clone(), given.causes.clone());
        let workload = recipe.wrap(Box::new(given))?;
        let parts = recipe.build(Arc::clone(&clock))?;
        let mut anneal = parts.optimizer.anneal.clone();
        anneal.over(steps);
        let (mut session, workload) = Session::join(parts, workload, port, seed, steps)?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| Error::new(Kind::System, format!("the system gives no entropy: {e}")))?;
        session.worker().hide_with(key);
        Ok(Self {
            session,
            workload,
            looks_ahead: feedback::build(recipe.choice("feedback")?)?.looks_ahead(),
            recipe,
            layout,
            record: Record::begun(clock.now()),
            clock,
            gradient,
            causes,
            heard,
            stage: Stage::Between,
            own_optimizer,
            seed,
            rank,
            ranks,
            stepped: 0.0,
            last: None,
            anneal,
        })
    }

    /// Refuses a session that an error left in the middle of a round.
    pub fn whole(&self) -> Result<()> {
        if self.stage == Stage::Broken {
            return Err(Error::mismatch(
                "this session broke off in the middle of a round; load what it saved before, or make a new one",
            ));
        }
        Ok(())
    }

    /// Refuses what says other words while some are on their way, and what a round left half done.
    pub fn quiet(&self) -> Result<()> {
        self.whole()?;
        self.nothing_awaited()
    }

    fn nothing_awaited(&self) -> Result<()> {
        if self.stage == Stage::Spoken {
            return Err(Error::request("words are on their way; hear() what all agree on first"));
        }
        Ok(())
    }

    fn between_rounds(&self) -> Result<()> {
        self.quiet()?;
        if self.stage != Stage::Between {
            return Err(Error::request("a round is open already; close it first"));
        }
        Ok(())
    }

    /// One round with our own steps.
    pub fn round(&mut self, flags: u8) -> Result<Told> {
        self.between_rounds()?;
        if !self.own_optimizer {
            return Err(Error::request(
                "round(gradient) makes the steps itself, but this session leaves them to the caller; \
                 pass own_optimizer=True, or use begin, pace and close_after",
            ));
        }
        let told = self.session.round(&mut *self.workload, flags)?;
        self.last = Some(told);
        Ok(told)
    }

    /// Opens a round whose length is asked for later.
    pub fn begin(&mut self) -> Result<()> {
        self.between_rounds()?;
        if self.own_optimizer {
            return Err(Error::request(
                "begin() opens a round of a caller that makes its own steps; leave own_optimizer=True out, or use \
                 round(gradient)",
            ));
        }
        self.session.begin()?;
        self.stage = Stage::Begun;
        Ok(())
    }

    /// How many steps the caller makes in the round that has begun.
    pub fn pace(&mut self, pace: Pace) -> Result<u64> {
        self.whole()?;
        if self.stage != Stage::Begun {
            return Err(Error::request("pace(rate) is asked for once a round, after begin()"));
        }
        let steps = self.session.pace(pace)?;
        self.stage = Stage::Stepping(steps, self.clock.now());
        Ok(steps)
    }

    /// Closes a round after so many steps, or as many as were told.
    pub fn close(&mut self, steps: Option<u64>, flags: u8) -> Result<Told> {
        self.whole()?;
        let Stage::Stepping(paced, since) = self.stage else {
            return Err(Error::request("no round waits to be closed; open() one, or begin() and pace() it"));
        };
        let told = if self.own_optimizer {
            // The engine counts what its own steps take, and those of a caller that it asked for a pace.
            self.stepped += self.clock.now() - since;
            self.session.close(flags)?
        } else {
            self.session.close_after(steps.unwrap_or(paced), flags)?
        };
        self.stage = Stage::Between;
        self.last = Some(told);
        Ok(told)
    }

    /// Says what the caller's steps led to; what all agree on is heard later.
    pub fn speak(&mut self, steps: u64, flags: u8) -> Result<()> {
        self.whole()?;
        if !matches!(self.stage, Stage::Stepping(..)) || self.own_optimizer {
            return Err(Error::request("no round of a caller's own steps waits to be closed; begin() and pace() it"));
        }
        self.session.speak_after(steps, flags)?;
        self.stage = Stage::Spoken;
        Ok(())
    }

    /// How many steps of the next round may be made before it begins.
    pub fn pace_ahead(&mut self, pace: Pace) -> Result<u64> {
        self.whole()?;
        if !matches!(self.stage, Stage::Spoken | Stage::Between) {
            return Err(Error::request("pace_ahead(rate) is asked for between speak_after and the next begin()"));
        }
        self.session.pace_ahead(pace)
    }

    /// Closes the round that spoke.
    pub fn hear(&mut self) -> Result<Told> {
        self.whole()?;
        let told = self.session.hear()?;
        self.stage = Stage::Between;
        self.last = Some(told);
        Ok(told)
    }

    /// Opens a round at the recipe's own rate: how many steps the caller makes.
    pub fn open(&mut self) -> Result<u64> {
        self.between_rounds()?;
        if self.session.worker().federated() {
            return Err(Error::request("federated clients speak one after another; call round(gradient)"));
        }
        if self.own_optimizer {
            let steps = self.session.open()?;
            self.stage = Stage::Stepping(steps, self.clock.now());
            return Ok(steps);
        }
        self.begin()?;
        let step = self.session.worker().position().1;
        self.pace(Pace { rate: self.anneal.rate(step), warming: step < self.anneal.warmup(), most: None })
    }

    /// Everything the session remembers. A round that is open is opened anew after it is taken back.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        self.quiet()?;
        let mut state = self.session.save(&*self.workload)?;
        let mut own = State::default();
        let (ledger, wait) = self.session.metered(|m| (m.ledger.clone(), m.wait)).unwrap_or_default();
        own.put_all("sent", flows_to(&ledger));
        own.put_all("heard", flows_to(&self.heard.lock()));
        own.put_numbers("seconds", &[wait, self.stepped].map(f64::to_bits));
        self.record.save(self.clock.now(), &mut own)?;
        state.put_all("session", own);
        checkpoint::encode(&state)
    }

    /// Takes back what `save` gave on this rank.
    pub fn load(&mut self, bytes: &[u8]) -> Result<()> {
        self.nothing_awaited()?;
        let state = checkpoint::decode("the state", bytes)?;
        self.session.load(&state, &mut *self.workload)?;
        self.goes_on(&[state.part("session")], self.ranks)
    }

    /// Takes what all ranks of a session saved, in rank order, that may have had another number of ranks.
    pub fn load_dealt(&mut self, all: &[Vec<u8>]) -> Result<()> {
        self.nothing_awaited()?;
        let read = |(rank, bytes): (usize, &Vec<u8>)| checkpoint::decode(&format!("the state of rank {rank}"), bytes);
        let states = all.iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
        self.session.load_from(&states, &mut *self.workload)?;
        // Every old rank's counts go on with one of the new ranks.
        let mine = (self.rank..states.len()).step_by(self.ranks);
        let mut own: Vec<State> = mine.map(|rank| states[rank].part("session")).collect();
        if own.is_empty() {
            // A rank that there was not has counted nothing, and knows what happened all the same.
            own.extend(states.first().map(|first| {
                let mut news = first.part("session");
                news.numbers.retain(|name, _| name == "record");
                news.put_numbers("seconds", &[0; 2]);
                news
            }));
        }
        self.goes_on(&own, states.len())
    }

    /// Takes the ledgers and the record of the states that this rank goes on from, one of `former` ranks.
    fn goes_on(&mut self, states: &[State], former: usize) -> Result<()> {
        let (mut sent, mut heard, mut seconds) = (Ledger::default(), Ledger::default(), [0.0; 2]);
        for state in states {
            sent.merge(&flows_of(&state.part("sent"))?);
            heard.merge(&flows_of(&state.part("heard"))?);
            let theirs: [u64; 2] = state.take_numbers("seconds")?;
            seconds.iter_mut().zip(theirs).for_each(|(sum, seconds)| *sum += f64::from_bits(seconds));
        }
        let [wait, stepped] = seconds;
        let waited = self.session.worker().times().waited;
        self.session.metered(|meter| (meter.ledger, meter.wait) = (sent, wait - waited));
        *self.heard.lock() = heard;
        self.stepped = stepped;
        if let Some(first) = states.first() {
            let (round, step) = self.session.worker().position();
            self.record.load(self.clock.now(), first)?;
            self.record.resumed.push(format!("at round {round}, step {step}, from {former} ranks"));
        }
        (self.stage, self.last) = (Stage::Between, None);
        Ok(())
    }
}

/// A ledger as numbers by name.
pub fn flows_to(ledger: &Ledger) -> State {
    let mut state = State::default();
    for (Link { from, to, purpose }, flow) in ledger.flows() {
        state.put_numbers(&format!("{from}/{to}/{purpose}"), &[flow.messages, flow.bytes]);
    }
    state
}

/// And back.
pub fn flows_of(state: &State) -> Result<Ledger> {
    let row = |(name, numbers): (&String, &Vec<u64>)| {
        let mut words = name.splitn(3, '/').map(str::to_owned);
        match (words.next(), words.next(), words.next(), &numbers[..]) {
            (Some(from), Some(to), Some(purpose), &[messages, bytes]) => {
                Ok(FlowRow { from, to, purpose, messages, bytes })
            }
            _ => Err(Error::data(format!("`{name}` is no link of a ledger"))),
        }
    };
    ledger_of(&state.numbers.iter().map(row).collect::<Result<Vec<_>>>()?)
}

/// What a session cannot do, by name.
fn suits(recipe: &Recipe, own_optimizer: bool) -> Result<()> {
    if recipe.placement()? != Placement::Replicate {
        return Err(Error::request(format!(
            "`placement={}`: a session's model is the caller's and cannot be cut into blocks; set placement=replicate",
            recipe.choice("placement")?
        )));
    }
    let participation = recipe.participation()?;
    if participation.served().is_some() {
        return Err(Error::request(format!(
            "`participation={}` needs a server that hears whoever comes first, and a session's port listens to one rank \
             at a time; set participation=everyone",
            recipe.choice("participation")?
        )));
    }
    let local = recipe.choice("local")?;
    if local.name == "dual" {
        return Err(Error::request(
            "`local=dual` ascends the dual of a linear model whose rows it must see; set local=descent",
        ));
    }
    if own_optimizer {
        return Ok(());
    }
    if participation.federated() {
        return Err(Error::request(format!(
            "`participation={}`: drawn clients make steps of their own, one after another; set participation=everyone, \
             or own_optimizer=True and call round(gradient)",
            recipe.choice("participation")?
        )));
    }
    if local.name != "descent" {
        return Err(Error::request(format!(
            "`local={local}` makes steps of its own, but here the caller makes them; set local=descent, or \
             own_optimizer=True and call round(gradient)"
        )));
    }
    if let Some(estimate) = local.named.get("estimate").filter(|e| e.to_string() != "plain") {
        return Err(Error::request(format!(
            "`local.estimate={estimate}` says where gradients come from, but here they are the caller's; set \
             local.estimate=plain, or own_optimizer=True and call round(gradient)"
        )));
    }
    Ok(())
}

/// Replaces every `auto` of a recipe and refuses what cannot be.
fn settle(recipe: &mut Recipe, given: &Given, ranks: usize, steps: Option<u64>, own_optimizer: bool) -> Result<()> {
    let clients = if given.rows.is_empty() { 100 } else { given.rows.len() };
    recipe.resolve(&Defaults { clients, parameters: given.layout.len(), ranks, ..Defaults::PLAIN })?;
    suits(recipe, own_optimizer)?;
    let clients = recipe.participation()?.clients(ranks) as u64;
    let rows: Vec<f32> = (0..clients).map(|client| given.rows(client) as f32).collect();
    if let Some(steps) = steps {
        recipe.solve(steps, ranks, &rows)?;
    }
    check(recipe)
}
