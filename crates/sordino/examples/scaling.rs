//! What one meeting costs every rank, for more and more ranks: bytes as the ledger counts them, seconds in a simulated world.
//!
//! `cargo run --release --example scaling [entries] [bits per second] [FILE.svg]` prints a line a case, and draws them.

use std::fmt::Write as _;
use std::sync::Arc;

use sordino::base::{Layout, Purpose, Stream, Use};
use sordino::exchange::{Frame, Talk, Voice};
use sordino::fabric::{Clock, Metered, Port, World, on_threads, simulate};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::{Error, Result};

/// Bytes that the busiest rank sends and receives, and the second at which the last one is done.
fn meet(code: &str, exchange: &str, ranks: usize, entries: usize, rate: f64) -> Result<(u64, u64, f64)> {
    let mut recipe = Recipe::default();
    recipe.set(&format!("compress={code}"))?;
    recipe.set(&format!("exchange={exchange}"))?;
    recipe.resolve(&Defaults::default())?;
    check(&recipe)?;
    let (world, layout) = (World { latency: 1e-3, rate, ..World::still() }, Layout::vector(entries));
    let seats = simulate(ranks, &world).into_iter().map(|(port, clock)| (Metered::new(port, clock.clone()), clock));
    let told = on_threads(seats.collect(), |(mut port, clock)| {
        let mut parts = recipe.build(clock.clone())?;
        let (rank, voices) = (port.rank(), Voice::ranks(ranks));
        let mut stream = Stream::new(1, Use::Problem, rank as u64, 0);
        let given: Vec<f32> = (0..entries).map(|_| stream.uniform() - 0.5).collect();
        let (mut said, mut agreed) = (vec![0.0; entries], vec![0.0; entries]);
        let mut talk = Talk {
            port: &mut port,
            compressor: &mut *parts.compressor,
            aggregator: &mut *parts.aggregator,
            layout: &layout,
            seed: 1,
            frame: Frame { round: 0, silence: 1, flags: 0 },
            purpose: &Purpose::Payload,
            voices: &voices,
            expected: ranks as f64,
            clients: false,
            weights: &[],
        };
        parts.exchange.begin(&mut talk, voices[rank], &given, &mut said)?;
        parts.exchange.finish(&mut talk, &mut said, &mut agreed)?;
        Ok((port.meter().map(|meter| meter.ledger.clone()), Arc::clone(&clock).now()))
    })?;
    let seconds = told.iter().map(|(_, now)| *now).fold(0.0, f64::max);
    let ledgers = told.into_iter().filter_map(|(ledger, _)| ledger);
    let all = ledgers.reduce(|mut all, one| {
        all.merge(&one);
        all
    });
    let (sent, received) = all.ok_or_else(|| Error::request("nobody counted"))?.busiest(ranks, None);
    Ok((sent, received, seconds))
}

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or| given.get(at).map_or(or, |text| text.parse::<f64>().unwrap_or(f64::NAN));
    let (entries, rate, mut curves) = (number(0, 2e5), number(1, 1e8), Vec::new());
    if !(entries >= 1.0 && rate > 0.0) {
        return Err(Error::request("expected a number of entries and a rate in bits per second"));
    }
    println!("# one meeting over {entries} entries, links of {rate} bit/s, 1 ms; codes and sums take no time there");
    println!("{:<8} {:<10} {:>5} {:>12} {:>12} {:>10}", "code", "exchange", "ranks", "sent", "received", "seconds");
    for (code, exchanges) in [("dense", &["gather", "reduce", "two_phase"][..]), ("sign", &["gather", "two_phase"])] {
        for exchange in exchanges {
            let mut curve = Curve { name: format!("{code}, {exchange}"), bytes: Vec::new(), seconds: Vec::new() };
            for ranks in RANKS {
                let (sent, received, seconds) = meet(code, exchange, ranks, entries as usize, rate)?;
                println!("{code:<8} {exchange:<10} {ranks:>5} {sent:>12} {received:>12} {seconds:>10.4}");
                curve.bytes.push(sent as f64);
                curve.seconds.push(seconds);
            }
            curves.push(curve);
        }
    }
    match given.get(2) {
        None => Ok(()),
        Some(path) => std::fs::write(path, drawn(&curves)).map_err(|e| Error::request(format!("{path}: {e}"))),
    }
}

const RANKS: [usize; 5] = [2, 4, 8, 16, 32];

/// What one exchange of one code costs, for every number of ranks.
struct Curve {
    name: String,
    bytes: Vec<f64>,
    seconds: Vec<f64>,
}

/// How curves are drawn. Dense sums cost the same by `reduce` and by `two_phase`: one is dashed, so that both are seen.
const STROKES: [&str; 5] = [
    "stroke=\"#8a8f98\"",
    "stroke=\"#2f6fb0\"",
    "stroke=\"#e0a030\" stroke-dasharray=\"7 7\"",
    "stroke=\"#b0602f\"",
    "stroke=\"#2f9d6b\"",
];
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 240.0;

/// Two panels, both axes logarithmic.
fn drawn(curves: &[Curve]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 310\" width=\"960\" height=\"310\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
    );
    panel(&mut svg, 60.0, "bytes that a rank sends", curves, |curve| &curve.bytes);
    panel(&mut svg, 460.0, "seconds of a meeting", curves, |curve| &curve.seconds);
    for (at, curve) in curves.iter().enumerate() {
        let y = 60 + 22 * at;
        let _ = writeln!(svg, "<path d=\"M 800 {y} h 24\" {} stroke-width=\"2.5\"/>", STROKES[at]);
        let _ = writeln!(svg, "<text x=\"830\" y=\"{}\">{}</text>", y + 4, curve.name);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, left: f64, title: &str, curves: &[Curve], of: impl Fn(&Curve) -> &Vec<f64>) {
    let all = curves.iter().flat_map(&of).map(|v| v.log10());
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (low, high) = (low.floor(), high.ceil());
    let (x, y) = (
        |at: usize| left + WIDTH * at as f64 / (RANKS.len() - 1) as f64,
        |log: f64| 40.0 + HEIGHT * (high - log) / (high - low),
    );
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"22\" font-weight=\"bold\">{title}</text>");
    for power in low as i32..=high as i32 {
        let at = y(f64::from(power));
        let _ = writeln!(svg, "<path d=\"M {left} {at:.1} h {WIDTH}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">10<tspan dy=\"-5\" font-size=\"9\">{power}</tspan></text>",
            left - 8.0,
            at + 4.0
        );
    }
    for (at, ranks) in RANKS.iter().enumerate() {
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"300\" text-anchor=\"middle\">{ranks}</text>", x(at));
    }
    for (curve, stroke) in curves.iter().zip(STROKES) {
        let points: Vec<String> =
            of(curve).iter().enumerate().map(|(at, v)| format!("{:.1} {:.1}", x(at), y(v.log10()))).collect();
        let line = points.join(" L ");
        let _ = writeln!(svg, "<path d=\"M {line}\" fill=\"none\" {stroke} stroke-width=\"2.5\"/>");
    }
}
