//! The fabric's own all-reduce in place of ours: one collective, and rank 0's frame rides along in it.

use crate::base::{Result, simd};
use crate::exchange::{Talk, diverged};

/// Overwrites everybody's short vector with the aggregate, and returns rank 0's flags.
///
/// Nine numbers travel behind the vector: rank 0's frame, to which all others add zeros, so that it arrives exactly and
/// every rank finds out whether it agrees with rank 0.
pub(super) fn agree(talk: &mut Talk, short: &mut Vec<f32>) -> Result<u8> {
    let len = short.len();
    let mut frame = talk.frame.limbs();
    if talk.port.rank() > 0 {
        frame.fill(0.0);
    }
    short.extend_from_slice(&frame);
    let tag = talk.across();
    let told = talk.port.all_reduce(&tag, short).and_then(|()| talk.frame.compare(0, &short[len..]));
    // It is the caller's vector, whatever came of it.
    short.resize(len, 0.0);
    let flags = told?;
    // Voices that all tell the same are told gain times it: what the sum is divided by follows.
    let voices = talk.voices.len() as f64;
    let divisor = voices / talk.aggregator.gain(voices, talk.expected);
    if simd::divide_finite(short, divisor as f32) { Ok(flags) } else { Err(diverged("what all ranks add up to")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Result;
    use crate::aggregate::{Aggregator, Mean, Sum};
    use crate::base::{Error, Kind, Layout, Ledger, Party, Purpose, Role, Stream, Tensor, Use};
    use crate::compress::{Compressor, Dense, PowerSgd};
    use crate::exchange::{Exchange, Frame, Reduce, Talk, Voice};
    use crate::fabric::{Metered, Port, Still, Tag, ThreadPort, connect, on_threads};

    /// A port over an engine whose all-reduce adds up from the last rank to the first.
    struct Motor(ThreadPort);

    impl Port for Motor {
        fn rank(&self) -> usize {
            self.0.rank()
        }

        fn size(&self) -> usize {
            self.0.size()
        }

        fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
            self.0.send(to, tag, bytes)
        }

        fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
            self.0.receive(from, tag, into)
        }

        fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
            let (rank, size) = (self.rank(), self.size());
            let mut bytes = Vec::new();
            if rank + 1 < size {
                self.0.receive(rank + 1, tag, &mut bytes)?;
                for (v, theirs) in vector.iter_mut().zip(numbers(&bytes)) {
                    *v += theirs;
                }
            }
            let raw = |vector: &[f32]| vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
            if rank > 0 {
                self.0.send(rank - 1, tag, &raw(vector))?;
                self.0.receive(0, tag, &mut bytes)?;
                for (v, theirs) in vector.iter_mut().zip(numbers(&bytes)) {
                    *v = theirs;
                }
                return Ok(());
            }
            (1..size).try_for_each(|to| self.0.send(to, tag, &raw(vector)))
        }
    }

    fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    struct Way {
        engine: bool,
        /// Whether what is given is overwritten.
        in_place: bool,
        spoilt: f32,
        wrong_round: bool,
        codec: fn() -> Box<dyn Compressor>,
        aggregator: fn() -> Box<dyn Aggregator>,
    }

    const SIZE: usize = 3;

    /// What a rank is understood to have said, what is agreed, rank 0's flags and what was counted.
    type Agreed = (Vec<f32>, Vec<f32>, u8, Ledger);

    fn agree<P: Port>(way: &Way, wrap: fn(ThreadPort) -> P) -> Result<Vec<Agreed>> {
        let layout = Layout::new([Tensor::new("w", &[24, 20], Role::Weight), Tensor::new("b", &[7], Role::Bias)]);
        let ports = connect(SIZE).into_iter().map(|port| Metered::new(wrap(port), Arc::new(Still))).collect();
        on_threads(ports, |mut port| {
            let rank = port.rank();
            let mut exchange = if way.engine { Reduce::by_engine() } else { Reduce::default() };
            let round = 70_000 * 70_000 + u64::from(way.wrong_round && rank == 2);
            let mut stream = Stream::new(3, Use::Problem, rank as u64, 0);
            let mut given: Vec<f32> = (0..layout.len()).map(|_| stream.normal()).collect();
            if rank == 1 {
                given[7] += way.spoilt;
            }
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut *(way.codec)(),
                aggregator: &mut *(way.aggregator)(),
                layout: &layout,
                seed: 1,
                frame: Frame { round, silence: 65_536, flags: if rank == 0 { 131 } else { 4 } },
                purpose: &Purpose::Payload,
                voices: &Voice::ranks(SIZE),
                expected: SIZE as f64,
                clients: false,
                weights: &[],
            };
            let (mut said, mut agreed) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
            let flags = if way.in_place {
                let exchange = exchange.in_place().ok_or_else(|| Error::request("not in place"))?;
                (said, agreed) = (given.clone(), given);
                let told = exchange.overwrite(&mut talk, &mut agreed);
                assert_eq!(agreed.len(), layout.len(), "whatever came of it");
                told?
            } else {
                exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given, &mut said)?;
                exchange.finish(&mut talk, &mut said, &mut agreed)?
            };
            let ledger = port.meter().map(|meter| meter.ledger.clone());
            Ok((said, agreed, flags, ledger.ok_or_else(|| Error::request("a metered port has no meter"))?))
        })
    }

    const DENSE: fn() -> Box<dyn Compressor> = || Box::new(Dense);
    const LOW_RANK: fn() -> Box<dyn Compressor> = || Box::new(PowerSgd::new(2));
    const MEAN: fn() -> Box<dyn Aggregator> = || Box::new(Mean::default());
    const HALF: fn() -> Box<dyn Aggregator> = || Box::new(Sum::of(0.5));
    const PLAIN: Way =
        Way { engine: false, in_place: false, spoilt: 0.0, wrong_round: false, codec: DENSE, aggregator: MEAN };

    #[test]
    fn an_engine_agrees_with_the_ranks_to_rounding_and_not_bit_for_bit() {
        let mut moved = 0;
        for codec in [DENSE, LOW_RANK] {
            for aggregator in [MEAN, HALF] {
                let way = Way { codec, aggregator, ..PLAIN };
                let ours = agree(&way, Motor).unwrap();
                let engine = agree(&Way { engine: true, ..way }, Motor).unwrap();
                for (ours, engine) in ours.iter().zip(&engine) {
                    assert_eq!((ours.2, engine.2), (131, 131));
                    moved += ours.1.iter().zip(&engine.1).filter(|(a, b)| a != b).count();
                    for (a, b) in ours.0.iter().zip(&engine.0).chain(ours.1.iter().zip(&engine.1)) {
                        assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} {b}");
                    }
                }
                assert!(engine.iter().all(|rank| rank.1 == engine[0].1));
            }
        }
        assert!(moved > 0, "another order of addition is nowhere to be seen");
    }

    #[test]
    fn what_is_given_may_be_overwritten_where_all_of_it_is_said() {
        for aggregator in [MEAN, HALF] {
            let way = Way { engine: true, aggregator, ..PLAIN };
            let (two, one) = (agree(&way, Motor).unwrap(), agree(&Way { in_place: true, ..way }, Motor).unwrap());
            for (two, one) in two.iter().zip(&one) {
                assert_eq!((&two.0, &two.1, two.2, &two.3), (&one.0, &one.1, one.2, &one.3));
            }
        }
        let ranks = agree(&Way { in_place: true, ..PLAIN }, Motor).unwrap_err().to_string();
        assert!(ranks.contains("not in place"), "ranks add up what they were told");
        for spoilt in [f32::NAN, f32::INFINITY] {
            // Every rank finds out: none waits for one that has left.
            let way = Way { engine: true, in_place: true, spoilt, ..PLAIN };
            assert_eq!(agree(&way, Motor).unwrap_err().kind(), Kind::Diverged);
        }
        assert!(agree(&Way { engine: true, in_place: true, wrong_round: true, ..PLAIN }, Motor).is_err());
    }

    #[test]
    fn a_ring_is_what_is_counted() {
        let way = Way { engine: true, ..PLAIN };
        let (vector, ranks) = (4 * (24 * 20 + 7 + 9), agree(&way, Motor).unwrap());
        let mut all = Ledger::default();
        for rank in &ranks {
            all.merge(&rank.3);
        }
        let sent: u64 = (0..SIZE).map(|rank| all.sent_by(Party::Worker(rank))).sum();
        assert_eq!(sent, 2 * (SIZE as u64 - 1) * vector);
        let (busiest, _) = all.busiest(SIZE, None);
        assert!(busiest >= sent / 3 && busiest <= sent / 3 + 16, "{busiest}");
        let messages: u64 = ranks[1].3.flows().map(|(_, flow)| flow.messages).sum();
        assert_eq!(messages, 2 * (SIZE as u64 - 1));
    }

    #[test]
    fn a_rank_of_another_round_and_a_fabric_without_an_engine_are_refused() {
        let way = Way { engine: true, wrong_round: true, ..PLAIN };
        let error = agree(&way, Motor).unwrap_err();
        assert!(error.kind() == Kind::Mismatch && error.to_string().contains("round 4900000000 after"), "{error}");
        let error = agree(&Way { wrong_round: false, ..way }, |port| port).unwrap_err().to_string();
        assert!(error.contains("use exchange=reduce"), "{error}");
    }
}
