//! A server at its port: it listens to whoever comes, and sends them back to work.

use std::collections::VecDeque;

use super::errand::{Note, Word, announce, down, read_gap, up};
use super::evaluate::Gap;
use super::premises::Premises;
use super::server::{Server, Update};
use super::session::Parts;
use crate::base::{Error, Ledger, Link, Purpose, Result, State, Writer};
use crate::fabric::{Port, Tag};
use crate::workload::{Start, Workload};

/// A server with its port, which is that of the last rank.
///
/// `begin`, then `serve` until it gives nothing more; after each update `answer` sends those back to work that wait, and
/// between the two the run may be looked at and saved. `stop` at the end.
pub struct Serving {
    server: Server,
    port: Box<dyn Port>,
    premises: Premises,
    waits: bool,
    /// Messages of one word: what is said, buffers if there are any, and a note.
    tags: Vec<Tag>,
    /// Who has spoken and has not been told anything.
    waiting: Vec<usize>,
    /// The order in which workers came since it was last taken.
    order: Vec<usize>,
    replay: Option<VecDeque<usize>>,
    /// Words of a checkpoint, which are heard once premises are compared.
    held: State,
    heard: Ledger,
    notes: Vec<Note>,
    bytes: Vec<u8>,
    out: Writer,
    buffers: Vec<f32>,
}

impl Serving {
    /// The server for all other ranks of `port`, at the start of a run of `total` local steps each.
    pub fn new(parts: Parts, workload: &dyn Workload, seed: u64, total: u64, port: Box<dyn Port>) -> Result<Self> {
        let workers = port.size().saturating_sub(1);
        if workers == 0 {
            return Err(Error::request("a server serves at least one worker, which is a rank of its own"));
        }
        let premises = Premises::new(parts.fingerprint, seed, Some(total), workload.layout());
        let waits = parts.participation.served().is_some_and(|served| served.waits);
        let buffers = workload.layout().buffer_len() > 0;
        let purposes = [Some(Purpose::Payload), buffers.then_some(Purpose::Buffers), Some(Purpose::Control)];
        Ok(Self {
            server: Server::new(parts, workload, seed, workers, total)?,
            port,
            premises,
            waits,
            tags: purposes.into_iter().flatten().map(up).collect(),
            waiting: Vec::new(),
            order: Vec::new(),
            replay: None,
            held: State::default(),
            heard: Ledger::default(),
            notes: vec![Note::default(); workers],
            bytes: Vec::new(),
            out: Writer::new(),
            buffers: Vec::new(),
        })
    }

    /// Begins from another model than the problem's own, before anything is heard; every worker must as well.
    pub fn begin_from(&mut self, start: &Start) -> Result<()> {
        self.server.begin_from(start)
    }

    /// Hears workers in a given order instead of the one in which they come.
    pub fn replay(&mut self, order: impl IntoIterator<Item = usize>) {
        self.replay = Some(order.into_iter().collect());
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The port.
    pub fn port(&mut self) -> &mut dyn Port {
        &mut *self.port
    }

    /// The order in which workers came since this was last asked.
    pub fn take_order(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.order)
    }

    /// What every worker told last beside its word.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Everything that moved: what was sent from here, and what was heard.
    pub fn ledger(&mut self) -> Ledger {
        let mut ledger = self.heard.clone();
        if let Some(meter) = self.port.meter() {
            ledger.merge(&meter.ledger);
        }
        ledger
    }

    /// Goes on counting from what moved before.
    pub fn moved_before(&mut self, ledger: Ledger) {
        self.heard = ledger;
    }

    fn workers(&self) -> usize {
        self.notes.len()
    }

    /// Compares premises with all workers, and, unless the run is over before it begins, sends those to work that are not.
    pub fn begin(&mut self, work: bool) -> Result<()> {
        self.premises.compare(&mut *self.port, 0)?;
        self.port.load_held(&std::mem::take(&mut self.held))?;
        let busy = self.server.busy();
        self.waiting = (0..self.workers()).filter(|worker| !busy.contains(worker)).collect();
        if work && !self.server.finished() { self.answer() } else { Ok(()) }
    }

    /// Serves until an update has been made; none once all steps are done.
    pub fn serve(&mut self) -> Result<Option<Update>> {
        if self.server.finished() {
            return Ok(None);
        }
        loop {
            let worker = self.listen()?;
            let made = self.server.hear(worker, &self.bytes)?;
            self.rest_of_word(worker)?;
            self.order.push(worker);
            self.waiting.push(worker);
            if let Some(update) = made {
                if update.gathered && self.server.flushes() {
                    self.flush()?;
                }
                return Ok(Some(update));
            }
            if !self.waits {
                self.answer()?;
            }
        }
    }

    /// Sends those back to work that have spoken.
    pub fn answer(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        for worker in waiting {
            self.announce(worker, &Word::Work)?;
            self.server.tell(worker, &mut self.out, &mut self.buffers)?;
            self.port.send(worker, &down(Purpose::Payload), self.out.bytes())?;
            if !self.buffers.is_empty() {
                self.out.clear();
                self.out.f32s(&self.buffers);
                self.out.seal(0);
                self.port.send(worker, &down(Purpose::Buffers), self.out.bytes())?;
            }
        }
        Ok(())
    }

    /// Everything that the server, its port and the words on their way remember, once every worker has saved its own:
    /// each is told `place`, and answers when it is done. Between an update and the answer to it.
    pub fn save(&mut self, place: &[u8]) -> Result<State> {
        self.port.hold(&self.server.busy(), &self.tags)?;
        let (mut state, mut port, mut held) = (State::default(), State::default(), State::default());
        self.port.save(&mut port);
        self.port.save_held(&mut held);
        self.port.load_held(&State::default())?;
        let word = Word::Save(place.to_vec());
        (0..self.workers()).try_for_each(|worker| self.announce(worker, &word))?;
        let confirmed = up(Purpose::Control);
        (0..self.workers()).try_for_each(|worker| self.receive(worker, &confirmed))?;
        self.port.load_held(&held)?;
        state.put_all("server", self.server.save());
        state.put_all("port", port);
        state.put_all("held", held);
        state.put_numbers("order", &self.order.iter().map(|worker| *worker as u64).collect::<Vec<_>>());
        Ok(state)
    }

    /// The duality gap of the model, where local work can tell it: asked of everybody after an update of everybody.
    pub fn gap(&mut self) -> Result<Option<f64>> {
        let word = Word::Certify(self.server.model().to_vec());
        (0..self.workers()).try_for_each(|worker| self.announce(worker, &word))?;
        let (mut parts, tag) = (Vec::with_capacity(self.workers()), up(Purpose::Control));
        for worker in 0..self.workers() {
            self.receive(worker, &tag)?;
            parts.push(read_gap(&self.bytes)?);
        }
        let parts: Option<Vec<Gap>> = parts.into_iter().collect();
        Ok(parts.map(Gap::whole))
    }

    /// Takes it back, before `begin`.
    pub fn load(&mut self, state: &State) -> Result<()> {
        self.server.load(&state.part("server"))?;
        self.port.load(&state.part("port"))?;
        self.held = state.part("held");
        let order = state.numbers.get("order").map_or(&[][..], |order| &order[..]);
        self.order = order.iter().map(|worker| *worker as usize).collect();
        Ok(())
    }

    /// Ends the run: whoever is at work is heard out, what it says moves nothing, and all are told to stop.
    pub fn stop(&mut self) -> Result<()> {
        for worker in self.server.busy() {
            for tag in self.tags.clone() {
                self.receive(worker, &tag)?;
            }
        }
        (0..self.workers()).try_for_each(|worker| self.announce(worker, &Word::Stop))
    }

    fn announce(&mut self, worker: usize, word: &Word) -> Result<()> {
        announce(word, &mut self.out);
        self.port.send(worker, &down(Purpose::Control), self.out.bytes())
    }

    /// The first message of the next word, in `bytes`.
    fn listen(&mut self) -> Result<usize> {
        let (busy, tag) = (self.server.busy(), self.tags[0].clone());
        let worker = match &mut self.replay {
            None => {
                let worker = self.port.receive_any(&busy, &tag, &mut self.bytes)?;
                self.count(worker, &tag);
                return Ok(worker);
            }
            Some(order) => order.pop_front().filter(|worker| busy.contains(worker)).ok_or_else(|| {
                Error::mismatch(
                    "the order of workers to be replayed is not that of this run: it ends too early, or names a \
                                 worker that has nothing to say",
                )
            })?,
        };
        self.receive(worker, &tag).map(|()| worker)
    }

    fn receive(&mut self, worker: usize, tag: &Tag) -> Result<()> {
        self.port.receive(worker, tag, &mut self.bytes)?;
        self.count(worker, tag);
        Ok(())
    }

    fn count(&mut self, worker: usize, tag: &Tag) {
        let (from, to) = tag.parties(worker, 0);
        self.heard.count(&Link { from, to, purpose: tag.purpose.clone() }, self.bytes.len() as u64);
    }

    /// Buffers and note of a word.
    fn rest_of_word(&mut self, worker: usize) -> Result<()> {
        for tag in self.tags.clone().iter().skip(1) {
            self.receive(worker, tag)?;
            match tag.purpose {
                Purpose::Buffers => self.server.hear_buffers(worker, &self.bytes)?,
                _ => self.notes[worker] = Note::read(&self.bytes)?,
            }
        }
        Ok(())
    }

    /// Everybody says what earlier words left out.
    fn flush(&mut self) -> Result<()> {
        let tag = up(Purpose::Residual);
        (0..self.workers()).try_for_each(|worker| self.announce(worker, &Word::Flush))?;
        let mut residuals = Vec::with_capacity(self.workers());
        for worker in 0..self.workers() {
            self.receive(worker, &tag)?;
            residuals.push(self.bytes.clone());
        }
        self.server.flush(&residuals)
    }
}
