//! The links of a pipeline: tokens that go forward and back between the blocks of one copy of a network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::base::{Cursor, Error, Purpose, Reader, Result, State, Writer};
use crate::fabric::{Clock, Port, Shared, Tag};
use crate::workload::Flow;

/// The two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the next block.
    Forward,
    /// To the block before.
    Back,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Forward, Self::Back];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }

    fn tag(self) -> Tag {
        Tag::across(match self {
            Self::Forward => Purpose::Activations,
            Self::Back => Purpose::Errors,
        })
    }
}

/// What one block tells another about one part of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Which batch.
    pub id: u64,
    /// Which part of it.
    pub part: usize,
    /// Activations on the way forward; on the way back only `values` means something: errors.
    pub flow: Flow,
    /// The part's mean loss, on the way back.
    pub loss: f64,
}

/// A place at a link; empty tokens are `None`.
type Queue = VecDeque<Option<Token>>;

/// The ends of all links that one rank has.
///
/// # Contract
/// A link is first in, first out, and begins with as many empty tokens as wait on it. Who pops says which batch must
/// come; another one is an error. All links between two ranks share what flows between them, so whoever listens puts
/// every token to the link it is for.
pub struct Links {
    port: Shared,
    clock: Arc<dyn Clock>,
    /// The rank of every block of this copy of the network.
    ranks: Vec<usize>,
    /// What has come to the blocks of this rank and was not taken yet.
    queues: BTreeMap<(Way, usize), Queue>,
    /// How many links come from every other rank, and how many tokens were heard from it.
    heard: BTreeMap<usize, (u64, u64)>,
    /// Tokens of one link in an iteration.
    micro: u64,
    /// Seconds spent waiting since somebody asked.
    waited: f64,
    out: Writer,
    into: Vec<u8>,
}

impl Links {
    /// The links of a rank: `ranks` holds every block's rank, `waiting` says how many tokens wait each way.
    pub fn new(port: Shared, clock: Arc<dyn Clock>, ranks: Vec<usize>, waiting: (usize, usize), micro: usize) -> Self {
        let (mut queues, mut heard) = (BTreeMap::new(), BTreeMap::<usize, (u64, u64)>::new());
        for block in (0..ranks.len()).filter(|block| ranks[*block] == port.rank()) {
            let before = block.checked_sub(1).map(|from| (Way::Forward, from, waiting.0));
            let after = (block + 1 < ranks.len()).then_some((Way::Back, block + 1, waiting.1));
            for (way, from, filled) in before.into_iter().chain(after) {
                queues.insert((way, block), (0..filled).map(|_| None).collect());
                if ranks[from] != port.rank() {
                    heard.entry(ranks[from]).or_default().0 += 1;
                }
            }
        }
        let micro = micro as u64;
        Self { port, clock, ranks, queues, heard, micro, waited: 0.0, out: Writer::new(), into: Vec::new() }
    }

    /// The shared port.
    pub fn port(&mut self) -> &mut Shared {
        &mut self.port
    }

    /// Seconds spent waiting since the last call.
    pub fn waited(&mut self) -> f64 {
        std::mem::take(&mut self.waited)
    }

    fn queue(&mut self, way: Way, block: usize) -> Result<&mut Queue> {
        self.queues.get_mut(&(way, block)).ok_or_else(|| {
            Error::mismatch(format!("a token went {} to block {block}, which has no such link here", way.name()))
        })
    }

    /// Gives a token, or an empty one, to a block.
    pub fn push(&mut self, way: Way, block: usize, token: Option<Token>) -> Result<()> {
        let to = self.ranks[block];
        if to == self.port.rank() {
            self.queue(way, block)?.push_back(token);
            return Ok(());
        }
        write(&mut self.out, way, block, token.as_ref());
        self.port.send(to, &way.tag(), self.out.bytes())
    }

    /// Takes the next token of a block's link, which must be about part `part` of batch `expected`, or empty.
    pub fn pop(&mut self, way: Way, block: usize, expected: Option<u64>, part: usize) -> Result<Option<Token>> {
        let from = match way {
            Way::Forward => self.ranks[block - 1],
            Way::Back => self.ranks[block + 1],
        };
        while self.queue(way, block)?.is_empty() {
            if from == self.port.rank() {
                return Err(Error::mismatch(format!("block {block} waits for a block of the same rank")));
            }
            self.hear(way, from)?;
        }
        let token = self.queue(way, block)?.pop_front().flatten();
        let came = token.as_ref().map(|t| (t.id, t.part));
        if came == expected.map(|id| (id, part)) {
            return Ok(token);
        }
        let say = |what: Option<(u64, usize)>| what.map_or("nothing".into(), |(id, part)| format!("batch {id}.{part}"));
        Err(Error::mismatch(format!(
            "block {block} was told of {} on the way {}, expected {}: all ranks must run the same recipe from the same \
             checkpoint",
            say(came),
            way.name(),
            say(expected.map(|id| (id, part)))
        )))
    }

    /// Listens to one message of another rank.
    fn hear(&mut self, way: Way, from: usize) -> Result<()> {
        let began = self.clock.now();
        self.port.receive(from, &way.tag(), &mut self.into)?;
        self.waited += self.clock.now() - began;
        let (way, block, token) = read(&self.into).map_err(|e| e.within(format!("from rank {from}")))?;
        self.queue(way, block)?.push_back(token);
        self.heard.entry(from).or_default().1 += 1;
        Ok(())
    }

    /// Takes in everything that was sent in the first `turns` iterations, so that other words can be heard.
    pub fn quiet(&mut self, turns: u64) -> Result<()> {
        let peers: Vec<usize> = self.heard.keys().copied().collect();
        for from in peers {
            while self.heard.get(&from).is_some_and(|(links, heard)| *heard < links * self.micro * turns) {
                self.hear(Way::Forward, from)?;
            }
        }
        Ok(())
    }

    /// Puts what waits into `state`; quiet first.
    pub fn save(&self, state: &mut State) {
        for ((way, block), queue) in &self.queues {
            save(state, &format!("{}/{block}", way.name()), queue.iter().map(Option::as_ref));
        }
    }

    /// Takes it back, after `turns` iterations.
    pub fn load(&mut self, state: &State, turns: u64) -> Result<()> {
        for ((way, block), queue) in &mut self.queues {
            *queue = load(state, &format!("{}/{block}", way.name()))?.into();
        }
        for (links, heard) in self.heard.values_mut() {
            *heard = *links * self.micro * turns;
        }
        Ok(())
    }
}

/// Whether tokens are put into a state under this name, those of links or those that wait in a block.
pub fn names(name: &str) -> bool {
    let under = name.split_once('/').map(|(what, _)| what);
    under == Some("block") || Way::BOTH.iter().any(|way| under == Some(way.name()))
}

/// Puts tokens into a state under a name.
pub fn save<'a>(state: &mut State, name: &str, tokens: impl Iterator<Item = Option<&'a Token>>) {
    let mut numbers = Vec::new();
    for (i, token) in tokens.enumerate() {
        let Some(token) = token else {
            numbers.extend([0; 6]);
            continue;
        };
        let [next, spare] = token.flow.noise.numbers();
        numbers.extend([token.id + 1, token.part as u64, token.flow.rows as u64, next, spare, token.loss.to_bits()]);
        state.put(&format!("{name}/{i}"), &token.flow.values);
    }
    state.put_numbers(name, &numbers);
}

/// The tokens of a state under a name.
pub fn load(state: &State, name: &str) -> Result<Vec<Option<Token>>> {
    let missing = || Error::mismatch(format!("the checkpoint does not say what waits on the link `{name}`"));
    let (numbers, rest) = state.numbers.get(name).ok_or_else(missing)?.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(missing());
    }
    let token = |(i, numbers): (usize, &[u64; 6])| {
        let [id, part, rows, next, spare, loss] = *numbers;
        let Some(id) = id.checked_sub(1) else { return Ok(None) };
        let values = state.vectors.get(&format!("{name}/{i}")).ok_or_else(missing)?.clone();
        let flow = Flow { values, rows: rows as usize, noise: Cursor::of([next, spare]) };
        Ok(Some(Token { id, part: part as usize, flow, loss: f64::from_bits(loss) }))
    };
    numbers.iter().enumerate().map(token).collect()
}

/// A token as a message.
fn write(out: &mut Writer, way: Way, block: usize, token: Option<&Token>) {
    out.clear();
    out.u8(way as u8);
    out.varint(block as u64);
    out.u8(u8::from(token.is_some()));
    if let Some(token) = token {
        out.varint(token.id);
        out.varint(token.part as u64);
        match way {
            Way::Forward => {
                out.varint(token.flow.rows as u64);
                for number in token.flow.noise.numbers() {
                    out.varint(number);
                }
            }
            Way::Back => out.u64(token.loss.to_bits()),
        }
        out.f32s(&token.flow.values);
    }
    out.seal(0);
}

fn read(bytes: &[u8]) -> Result<(Way, usize, Option<Token>)> {
    // What came whole and is no token is another word than the one that was due.
    token(Reader::open(bytes)?).map_err(|e| Error::mismatch(format!("a token was due, another word came: {e}")))
}

fn token(mut reader: Reader) -> Result<(Way, usize, Option<Token>)> {
    let (way, block, real) = (reader.u8()?, reader.varint()?, reader.u8()?);
    let way = *Way::BOTH.get(way as usize).ok_or_else(|| Error::decode(format!("a token goes way {way} of two")))?;
    if real == 0 {
        reader.done()?;
        return Ok((way, block as usize, None));
    }
    let (id, part) = (reader.varint()?, reader.varint()? as usize);
    let (mut flow, mut loss) = (Flow::default(), 0.0);
    match way {
        Way::Forward => {
            flow.rows = reader.varint()? as usize;
            flow.noise = Cursor::of([reader.varint()?, reader.varint()?]);
        }
        Way::Back => {
            let bits = reader.raw(8)?.try_into().map(u64::from_le_bytes);
            loss = f64::from_bits(bits.map_err(|_| Error::decode("a loss is cut short"))?);
        }
    }
    // As many numbers as have come: nothing is allocated by a length that somebody says.
    flow.values.resize(reader.left() / 4, 0.0);
    reader.f32s(&mut flow.values)?;
    reader.done()?;
    Ok((way, block as usize, Some(Token { id, part, flow, loss })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::fabric::{Still, connect, on_threads};

    fn token(id: u64) -> Token {
        let mut noise = crate::base::Stream::new(0, crate::base::Use::Noise, 0, 0);
        noise.uniform();
        let flow = Flow { values: vec![1.5, -0.0, id as f32], rows: 3, noise: noise.cursor() };
        Token { id, part: 2, flow, loss: f64::NAN }
    }

    fn forward(id: u64) -> Token {
        Token { loss: 0.0, ..token(id) }
    }

    fn back(id: u64) -> Token {
        let flow = Flow { values: vec![2.0; 5], ..Flow::default() };
        Token { flow, loss: 0.25, ..token(id) }
    }

    #[test]
    fn tokens_come_back_and_damage_is_noticed() {
        let mut out = Writer::new();
        for (way, token) in [(Way::Forward, Some(forward(7))), (Way::Back, Some(back(1 << 40))), (Way::Back, None)] {
            write(&mut out, way, 3, token.as_ref());
            assert_eq!(read(out.bytes()).unwrap(), (way, 3, token));
            for cut in 0..out.bytes().len() {
                assert_eq!(read(&out.bytes()[..cut]).unwrap_err().kind(), Kind::Decode);
            }
        }
        let mut state = State::default();
        save(&mut state, "x", [Some(&forward(4)), None, Some(&back(5))].into_iter());
        assert_eq!(load(&state, "x").unwrap(), [Some(forward(4)), None, Some(back(5))]);
        assert!(load(&state, "y").is_err());
    }

    fn links(port: Shared, ranks: &[usize]) -> Links {
        Links::new(port, Arc::new(Still), ranks.to_vec(), (0, 1), 1)
    }

    #[test]
    fn links_of_two_ranks_share_one_line_and_keep_apart() {
        // Three blocks in a ring on two ranks: rank 0 tells rank 1 activations of block 0 and errors of block 2.
        let said = on_threads(connect(2), |port| {
            let mut links = links(Shared::new(Box::new(port)), &[0, 1, 0]);
            if links.port().rank() == 0 {
                links.push(Way::Forward, 1, Some(forward(0)))?;
                links.push(Way::Back, 1, Some(back(0)))?;
                links.push(Way::Forward, 1, Some(forward(1)))?;
                assert_eq!(links.pop(Way::Back, 0, None, 2)?, None, "an empty token waited");
                return Ok(links.pop(Way::Forward, 2, None, 2)?.is_none());
            }
            assert_eq!(links.pop(Way::Back, 1, None, 2)?, None);
            assert_eq!(links.pop(Way::Forward, 1, Some(0), 2)?, Some(forward(0)));
            // Past the error of batch 0, which waits on its own link.
            assert_eq!(links.pop(Way::Forward, 1, Some(1), 2)?, Some(forward(1)));
            links.push(Way::Forward, 2, None)?;
            let wrong = links.pop(Way::Back, 1, Some(5), 2).unwrap_err();
            assert!(wrong.to_string().contains("told of batch 0.2 on the way back, expected batch 5.2"), "{wrong}");
            Ok(wrong.kind() == Kind::Mismatch)
        });
        assert_eq!(said.unwrap(), [true, true]);
    }

    #[test]
    fn what_is_on_its_way_is_taken_in_and_goes_on_from_a_checkpoint() {
        let states = on_threads(connect(2), |port| {
            let mut links = links(Shared::new(Box::new(port)), &[0, 1]);
            if links.port().rank() == 0 {
                links.push(Way::Forward, 1, Some(forward(0)))?;
                links.push(Way::Forward, 1, Some(forward(1)))?;
            } else {
                links.push(Way::Back, 0, None)?;
                links.push(Way::Back, 0, Some(back(0)))?;
            }
            links.quiet(2)?;
            let mut state = State::default();
            links.save(&mut state);
            Ok(state)
        });
        let alone = || Shared::new(Box::new(connect(2).remove(0)));
        let mut again = links(alone(), &[0, 1]);
        again.load(&states.unwrap()[0], 2).unwrap();
        again.quiet(2).unwrap();
        assert_eq!(again.pop(Way::Back, 0, None, 2).unwrap(), None);
        assert_eq!(again.pop(Way::Back, 0, None, 2).unwrap(), None);
        assert_eq!(again.pop(Way::Back, 0, Some(0), 2).unwrap(), Some(back(0)));
    }
}
