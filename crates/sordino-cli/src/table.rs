//! The table at the end of every command that trains.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use sordino_lab::record::Summary;

/// Bytes in the unit that suits them.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

fn seconds(s: f64) -> String {
    if s < 10.0 { format!("{s:.2}") } else { format!("{s:.0}") }
}

/// A loss in four digits, or in powers of ten where that says nothing.
pub fn loss(l: f64) -> String {
    if l.is_finite() {
        if l != 0.0 && !(1e-3..1e6).contains(&l.abs()) { format!("{l:.2e}") } else { format!("{l:.4}") }
    } else {
        "-".into()
    }
}

/// Labels and summaries as a table, with remarks below it.
pub fn table(runs: &[(String, Summary)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // With more workers than cores, wall-clock seconds include waiting for a core.
    let crowded = runs
        .iter()
        .find(|(_, s)| s.cores > 0 && s.workers > s.cores && !s.simulated)
        .map(|(_, s)| (s.workers, s.cores));
    let mut header = vec![
        "method",
        "accuracy",
        "loss",
        "train loss",
        "rounds",
        "sent",
        "received",
        "fewer",
        "compute s",
        "wait s",
        "exchange s",
        "100 Mbit/s s",
    ];
    let (private, federated) =
        (runs.iter().any(|(_, s)| s.epsilon.is_some()), runs.iter().any(|(_, s)| s.client_loss_worst.is_some()));
    header.extend(crowded.map(|_| "cpu s"));
    header.extend(federated.then_some("worst tenth"));
    header.extend(private.then_some("epsilon"));
    let dual = runs.iter().any(|(_, s)| s.duality_gap.is_some());
    header.extend(dual.then_some("gap"));
    table.set_header(header);
    for (label, s) in runs {
        let method = if s.diverged { format!("{label} (diverged)") } else { label.clone() };
        let mut row = vec![
            method,
            s.accuracy.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a)),
            loss(s.eval_loss),
            loss(s.train_loss),
            s.rounds.to_string(),
            bytes(s.bytes_sent_per_worker),
            bytes(s.bytes_received_per_worker),
            s.times_fewer_bytes().map_or("-".into(), |x| format!("{x:.1}x")),
            seconds(s.compute_seconds),
            seconds(s.wait_seconds),
            seconds(s.exchange_seconds),
            seconds(s.link_seconds_100mbit),
        ];
        row.extend(crowded.map(|_| s.cpu_seconds.map_or("-".into(), seconds)));
        row.extend(federated.then(|| s.client_loss_worst.map_or("-".into(), loss)));
        row.extend(private.then(|| s.epsilon.map_or("-".into(), |e| format!("{e:.2}"))));
        row.extend(dual.then(|| s.duality_gap.map_or("-".into(), loss)));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.trim_fmt();
    text.push_str(
        "\n\nsent, received: bytes per worker counted from the messages (the busiest worker, training only).",
    );
    text.push_str("\nfewer: against synchronous fp32 averaging at every step, over sent + received.");
    text.push_str("\n100 Mbit/s: seconds those bytes take on such a link, the busier way.");
    if federated {
        text.push_str(
            "\nfederated: bytes are those of one place at the server's table, whoever sits there; worst tenth: the mean loss of \
             the tenth of the clients with the largest.",
        );
    }
    if runs.iter().any(|(_, s)| s.simulated) {
        text.push_str("\nfabric=sim: seconds are those of the simulated world.");
    }
    if private {
        text.push_str("\nepsilon: spent, at the run's privacy.delta; - where nothing is hidden or the noise is 0.");
    }
    if dual {
        text.push_str("\ngap: how far the loss over all training rows is above the least there is, at most.");
    }
    for (label, s) in runs.iter().filter(|(_, s)| !s.workers_before.is_empty()) {
        let _ = write!(text, "\n{label}: with ");
        for before in &s.workers_before {
            let _ = write!(text, "{} workers up to step {}, then with ", before.workers, before.steps);
        }
        let _ = write!(text, "{}; bytes are those of the busiest of all.", s.workers);
    }
    if let Some((workers, cores)) = crowded {
        let _ = write!(
            text,
            "\n{workers} workers share {cores} cores, so seconds include waiting for a core; cpu: processor seconds of all \
             local steps."
        );
    }
    text
}
