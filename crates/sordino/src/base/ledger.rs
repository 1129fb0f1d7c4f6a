//! Who sent how many bytes to whom, and for what. Nobody else counts.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One end of a link: a worker's rank, or the server that rank 0 hosts in a star.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A worker.
    Worker(usize),
    /// The server of a star.
    Server,
    /// All federated clients together.
    Clients,
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(rank) => write!(f, "{rank}"),
            Self::Server => f.write_str("server"),
            Self::Clients => f.write_str("clients"),
        }
    }
}

/// What a message was for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The offer itself, on the way up or down.
    Payload,
    /// A dense average or flush of residuals.
    Residual,
    /// A dense average of buffers at a meeting.
    Buffers,
    /// A named aside that travels beside the payload.
    Aside(Cow<'static, str>),
    /// What a block of a cut network tells the next one.
    Activations,
    /// What a block of a cut network tells the one before: the gradient of the loss by what it was told.
    Errors,
    /// What ranks of one host tell each other so that they are one worker. Shown apart: the recipe is about what leaves it.
    Inside,
    /// Averages made only to look at the model. Shown apart, not part of training's bytes.
    Evaluate,
    /// Decisions of rank 0 that the others follow, such as stopping at a target. Shown apart like `Evaluate`.
    Control,
}

impl Purpose {
    /// Whether these bytes are what training costs: evaluation, control and what stays inside a host are shown apart.
    pub fn is_training(&self) -> bool {
        !matches!(self, Self::Evaluate | Self::Control | Self::Inside)
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Payload => f.write_str("payload"),
            Self::Residual => f.write_str("residual"),
            Self::Buffers => f.write_str("buffers"),
            Self::Aside(name) => write!(f, "aside:{name}"),
            Self::Activations => f.write_str("activations"),
            Self::Errors => f.write_str("errors"),
            Self::Inside => f.write_str("inside"),
            Self::Evaluate => f.write_str("evaluate"),
            Self::Control => f.write_str("control"),
        }
    }
}

impl std::str::FromStr for Purpose {
    type Err = super::Error;

    fn from_str(text: &str) -> super::Result<Self> {
        Ok(match text {
            "payload" => Self::Payload,
            "residual" => Self::Residual,
            "buffers" => Self::Buffers,
            "activations" => Self::Activations,
            "errors" => Self::Errors,
            "inside" => Self::Inside,
            "evaluate" => Self::Evaluate,
            "control" => Self::Control,
            _ => match text.strip_prefix("aside:") {
                Some(name) => Self::Aside(name.to_owned().into()),
                None => return Err(super::Error::data(format!("`{text}` is no purpose of a message"))),
            },
        })
    }
}

/// A directed link and what flowed over it for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Who sent.
    pub from: Party,
    /// Who received.
    pub to: Party,
    /// What for.
    pub purpose: Purpose,
}

/// Messages and bytes over one link for one purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many messages.
    pub messages: u64,
    /// How many bytes in them.
    pub bytes: u64,
}

/// Everything that moved. Each rank counts what it *sends*; merging the ranks' ledgers gives the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    flows: BTreeMap<Link, Flow>,
}

impl Ledger {
    /// Counts one message.
    pub fn count(&mut self, link: &Link, bytes: u64) {
        let flow = match self.flows.get_mut(link) {
            Some(flow) => flow,
            None => self.flows.entry(link.clone()).or_default(),
        };
        flow.messages += 1;
        flow.bytes += bytes;
    }

    /// Adds another rank's counts.
    pub fn merge(&mut self, other: &Self) {
        for (link, flow) in &other.flows {
            let mine = self.flows.entry(link.clone()).or_default();
            mine.messages += flow.messages;
            mine.bytes += flow.bytes;
        }
    }

    /// Sets one flow, as read from a checkpoint.
    pub fn restore(&mut self, link: Link, flow: Flow) {
        self.flows.insert(link, flow);
    }

    /// All flows in order of link and purpose.
    pub fn flows(&self) -> impl Iterator<Item = (&Link, &Flow)> {
        self.flows.iter()
    }

    /// Bytes over links that `keep` keeps.
    pub fn bytes_where(&self, mut keep: impl FnMut(&Link) -> bool) -> u64 {
        self.flows.iter().filter(|(link, _)| keep(link)).map(|(_, flow)| flow.bytes).sum()
    }

    /// Training bytes sent by a party.
    pub fn sent_by(&self, party: Party) -> u64 {
        self.bytes_where(|l| l.from == party && l.purpose.is_training())
    }

    /// Training bytes received by a party.
    pub fn received_by(&self, party: Party) -> u64 {
        self.bytes_where(|l| l.to == party && l.purpose.is_training())
    }

    /// The busiest worker's training bytes: the most sent and the most received by any of `workers`. Where federated
    /// clients speak, that of one place at the server's table: what all clients sent and received over `seats`.
    pub fn busiest(&self, workers: usize, seats: Option<f64>) -> (u64, u64) {
        if let Some(seats) = seats {
            let each = |bytes: u64| (bytes as f64 / seats.max(1.0)).round() as u64;
            return (each(self.sent_by(Party::Clients)), each(self.received_by(Party::Clients)));
        }
        let most = |of: &dyn Fn(Party) -> u64| (0..workers).map(|r| of(Party::Worker(r))).max().unwrap_or(0);
        (most(&|p| self.sent_by(p)), most(&|p| self.received_by(p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize, purpose: Purpose) -> Link {
        Link { from: Party::Worker(from), to: Party::Worker(to), purpose }
    }

    #[test]
    fn counts_merge_and_the_busiest_worker_is_found() {
        let mut a = Ledger::default();
        a.count(&link(0, 1, Purpose::Payload), 10);
        a.count(&link(0, 1, Purpose::Payload), 5);
        a.count(&link(0, 1, Purpose::Evaluate), 100);
        let mut b = Ledger::default();
        b.count(&link(1, 0, Purpose::Residual), 7);
        b.count(&Link { from: Party::Server, to: Party::Worker(1), purpose: Purpose::Payload }, 50);
        a.merge(&b);
        assert_eq!(a.busiest(2, None), (15, 65));
        assert_eq!(a.sent_by(Party::Server), 50);
        assert_eq!(a.flows().count(), 4);
    }

    #[test]
    fn purposes_have_names_and_back() {
        for p in
            [Purpose::Payload, Purpose::Aside("norms".into()), Purpose::Control, Purpose::Activations, Purpose::Errors]
        {
            assert_eq!(p.to_string().parse::<Purpose>().unwrap(), p);
        }
        assert!("bytes".parse::<Purpose>().is_err());
    }
}
