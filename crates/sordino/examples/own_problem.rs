//! A problem of one's own under a named method, four workers on threads of this process.
//!
//! `cargo run --release -p sordino --example own_problem` shows clipped gradient descent ending elsewhere where Clip21
//! arrives: once they are clipped, the gradients of unequal workers balance at another point.

use std::sync::Arc;

use sordino::Result;
use sordino::base::Layout;
use sordino::engine::{Session, Worker};
use sordino::fabric::{Metered, Port, Still, connect, on_threads};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Draw, Metrics, Split, Start, Workload};

/// Worker k wants x to be its own number: f_k(x) = ½(x − c_k)².
struct Wish {
    number: f32,
    layout: Layout,
}

impl Workload for Wish {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _seed: u64) -> Start {
        Start { parameters: vec![0.0], buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], _: &Draw, gradient: &mut [f32]) -> Result<f64> {
        gradient[0] = x[0] - self.number;
        Ok(0.5 * f64::from(gradient[0]).powi(2))
    }

    fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
        Ok(None)
    }
}

/// Where forty rounds of a method lead, and the bytes that worker 0 sent on the way.
fn end(method: &str) -> Result<(f32, u64)> {
    let mut recipe = Recipe::named(method)?;
    recipe.set("compress.clip=1")?;
    recipe.set("optim.rate=0.5")?;
    recipe.resolve(&Defaults::default())?;
    check(&recipe)?;
    let wishes = [7.0, -1.0, -1.0, -1.0]; // their mean is 1
    let ports = connect(wishes.len()).into_iter().map(|port| Metered::new(port, Arc::new(Still))).collect();
    let ends = on_threads(ports, |port| {
        let rank = port.rank();
        let mut wish = Wish { number: wishes[rank], layout: Layout::vector(1) };
        let parts = recipe.build(Arc::new(Still))?;
        let worker = Worker::new(parts, &wish, 0, rank, 4, Some(40));
        let mut session = Session::new(worker, Box::new(port));
        while !session.done() {
            session.round(&mut wish, 0)?;
        }
        let bytes = session.port().meter().map_or(0, |m| m.ledger.busiest(4, None).0);
        Ok((session.worker().model()[0], bytes))
    })?;
    Ok(ends[0])
}

fn main() -> Result<()> {
    for method in ["clip-gd", "clip21"] {
        let (x, bytes) = end(method)?;
        println!("{method:<8} ends at {x:.4} after {bytes} bytes a worker; the minimum is at 1");
    }
    Ok(())
}
