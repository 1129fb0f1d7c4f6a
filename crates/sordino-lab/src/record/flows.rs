//! The ledger as rows of a file.

use serde::{Deserialize, Serialize};
use sordino::Result;
use sordino::base::ledger::Flow;
use sordino::base::{Error, Ledger, Link, Party};

/// What flowed over one link for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// Who sent: a rank, `server`, or all federated `clients` together.
    pub from: String,
    /// Who received.
    pub to: String,
    /// What for: `payload`, `residual`, `buffers`, `aside:NAME`, `evaluate`, `control`.
    pub purpose: String,
    /// How many messages.
    pub messages: u64,
    /// How many bytes in them.
    pub bytes: u64,
}

/// A ledger's rows, in its order.
pub fn flows_of(ledger: &Ledger) -> Vec<FlowRow> {
    let row = |(link, flow): (&Link, &Flow)| FlowRow {
        from: link.from.to_string(),
        to: link.to.to_string(),
        purpose: link.purpose.to_string(),
        messages: flow.messages,
        bytes: flow.bytes,
    };
    ledger.flows().map(row).collect()
}

/// The ledger of rows.
pub fn ledger_of(rows: &[FlowRow]) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    for row in rows {
        let link = Link { from: party(&row.from)?, to: party(&row.to)?, purpose: row.purpose.parse()? };
        ledger.restore(link, Flow { messages: row.messages, bytes: row.bytes });
    }
    Ok(ledger)
}

fn party(text: &str) -> Result<Party> {
    match text {
        "server" => Ok(Party::Server),
        "clients" => Ok(Party::Clients),
        rank => rank.parse().map(Party::Worker).map_err(|_| {
            Error::data(format!("expected a rank, `server` or `clients` as one end of a link, got `{rank}`"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use sordino::base::Purpose;

    use super::*;

    #[test]
    fn a_ledger_survives_as_rows() {
        let mut ledger = Ledger::default();
        ledger.count(&Link { from: Party::Server, to: Party::Worker(1), purpose: Purpose::Payload }, 7);
        ledger.count(&Link { from: Party::Worker(1), to: Party::Server, purpose: Purpose::Aside("n".into()) }, 9);
        let rows = flows_of(&ledger);
        assert_eq!(rows[0].purpose, "aside:n");
        assert_eq!(ledger_of(&rows).unwrap(), ledger);
        let wrong = FlowRow { to: "left".into(), ..rows[0].clone() };
        assert!(ledger_of(&[wrong]).unwrap_err().to_string().contains("`left`"));
    }
}
