//! Zeroth order: gradients from function values alone, along every coordinate or along Gaussian directions.
//!
//! # What it does
//! Asks the workload for losses at points beside x and makes of their differences what stands for its gradient.
//!
//! # The step
//! ```text
//! coosge   ĝ = Σⱼ [f(x + μeⱼ) − f(x − μeⱼ)]/(2μ) · eⱼ                 2d losses
//! gausge   ĝ = (1/q) Σⱼ [f(x + μuⱼ) − f(x)]/μ · uⱼ,  uⱼ ~ N(0, I)      1 + q losses
//! f is the mean over the drawn rows
//! ```
//! # Contract
//! [`Workload::loss`] is all that is asked for, [`Workload::gradient`] never, so a workload may know losses alone. The
//! directions are the same for all rows of a draw. Direction j of a step is the normal numbers of
//! `Stream::new(seed, Use::Direction, client, step).part(j)`, and of `….part(row).part(j)` where a single row is asked
//! for by its place, so that rows have directions of their own. With `shared` it is
//! `Stream::new(seed, Use::Shared, 0, step).part(j)` for every client and row: what `compress=span` draws in the round
//! of that number, so that a gradient travels as q numbers.
//!
//! Losses are subtracted in f64; the loss told is f(x) for gausge, and the mean of all that was asked for coosge, which
//! is f(x) to O(μ²). Coosge divides by the distance of the two points as f32 has them, and so is exact on quadratics for
//! every μ, as far as losses are; else its error is at most √d·Lμ/2. Gausge is unbiased on quadratics and for the
//! gradient of the smoothed f; E‖ĝ‖² = (1 + (d + 1)/q)‖∇f‖² on linear f, so **a rate must be as much smaller** than one for
//! gradients: `optim.rate=auto` is. Buffers stay as they came, so running statistics never move. Asides of the workload
//! are left out, and gradients of parts refused.
//!
//! **μ is no smaller than 10⁻⁴·max(1, ‖x‖)** where losses are computed in f32, as networks do: the difference of two
//! losses near 1 has an error of 10⁻⁷, which μ divides. A μ that leaves x where it is, for coosge in any coordinate, is an
//! error.
//!
//! # When it helps, when it hurts
//! Where only outputs are known: black boxes, attacks, what cannot be differentiated. Coosge is a gradient for 2d
//! losses: for hundreds of parameters. Gausge costs two forward passes whatever d is, but moves about d times slower
//! than gradients; with shared directions it trains at a few bytes a step. Far from where f bends a large μ averages
//! over bumps; near a minimum it leaves gausge a bias.
//!
//! # Reference
//! Huang, Gu, Huo, Chen, Huang: Faster gradient-free proximal stochastic methods for nonconvex nonsmooth optimization
//! (1902.06158). Shared directions: a seed instead of a gradient, as in federated zeroth-order methods.
//!
//! # Deviations from the paper
//! One μ for all coordinates. For a mini-batch gausge draws one direction, not one a row; `svrg` and `saga` ask row by
//! row, each with its own, as the paper does.

use super::Estimate;
use crate::base::{Error, Former, Layout, Result, State, Stream, Use};
use crate::grammar::{Entry, Key};
use crate::workload::{Batch, Draw, Metrics, Split, Start, Workload};

const MU: Key = Key { name: "mu", default: "0.001", about: "distance of the points; in f32 at least 1e-4 max(1, |x|)" };

/// Differences in every coordinate.
pub const COOSGE: Entry<Estimate> = Entry {
    name: "coosge",
    about: "gradients from losses alone: central differences in every coordinate, 2d losses a gradient",
    keys: &[MU],
    build: |args| {
        let mu = args.positive("mu")?;
        Ok(Estimate::new(move |workload| Box::new(ZerothOrder::new(workload, Along::Coordinates, mu))))
    },
};

/// Differences along random directions.
pub const GAUSGE: Entry<Estimate> = Entry {
    name: "gausge",
    about: "gradients from losses alone: differences along Gaussian directions, one loss each and one more",
    keys: &[
        MU,
        Key { name: "directions", default: "1", about: "q: how many directions are averaged" },
        Key { name: "shared", default: "false", about: "all workers draw the same directions, those of compress=span" },
    ],
    build: |args| {
        let (mu, directions) = (args.positive("mu")?, args.count("directions", 1)?);
        let along = Along::Gaussian { directions, shared: args.flag("shared")? };
        Ok(Estimate::new(move |workload| Box::new(ZerothOrder::new(workload, along, mu))))
    },
};

/// Where losses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// On both sides in every coordinate.
    Coordinates,
    /// Ahead along so many Gaussian directions, the same for every client or not.
    Gaussian {
        /// How many.
        directions: u64,
        /// Whether all clients draw the same.
        shared: bool,
    },
}

/// A workload whose gradients are estimated from its losses.
pub struct ZerothOrder {
    inner: Box<dyn Workload>,
    along: Along,
    mu: f64,
    point: Vec<f32>,
    direction: Vec<f32>,
    sum: Vec<f64>,
}

impl ZerothOrder {
    /// Differences of losses of `inner` over a distance of `mu`.
    pub fn new(inner: Box<dyn Workload>, along: Along, mu: f64) -> Self {
        Self { inner, along, mu, point: Vec::new(), direction: Vec::new(), sum: Vec::new() }
    }

    fn coordinates(&mut self, x: &[f32], buffers: &[f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        self.point.clear();
        self.point.extend_from_slice(x);
        let mut total = 0.0;
        for (j, (g, x)) in gradient.iter_mut().zip(x).enumerate() {
            let sides = [f64::from(*x) + self.mu, f64::from(*x) - self.mu].map(|side| side as f32);
            let mut losses = [0.0; 2];
            for (loss, side) in losses.iter_mut().zip(sides) {
                self.point[j] = side;
                *loss = self.inner.loss(&self.point, buffers, draw)?;
            }
            self.point[j] = *x;
            let apart = f64::from(sides[0]) - f64::from(sides[1]);
            if apart == 0.0 {
                return Err(lost(self.mu, *x));
            }
            *g = ((losses[0] - losses[1]) / apart) as f32;
            total += losses[0] + losses[1];
        }
        Ok(total / (2 * x.len().max(1)) as f64)
    }

    fn gaussian(
        &mut self,
        (directions, streams): (u64, &Stream),
        x: &[f32],
        buffers: &[f32],
        draw: &Draw,
        gradient: &mut [f32],
    ) -> Result<f64> {
        let Self { inner, mu, point, direction, sum, .. } = self;
        let here = inner.loss(x, buffers, draw)?;
        sum.clear();
        sum.resize(x.len(), 0.0);
        for j in 0..directions {
            let mut stream = streams.part(j);
            direction.clear();
            direction.extend(x.iter().map(|_| stream.normal()));
            point.clear();
            point.extend(x.iter().zip(&*direction).map(|(x, u)| (f64::from(*x) + *mu * f64::from(*u)) as f32));
            if point == x && !x.is_empty() {
                return Err(lost(*mu, x.iter().fold(0.0, |top, v| v.abs().max(top))));
            }
            let slope = (inner.loss(point, buffers, draw)? - here) / *mu;
            for (s, u) in sum.iter_mut().zip(&*direction) {
                *s += slope * f64::from(*u);
            }
        }
        for (g, s) in gradient.iter_mut().zip(&*sum) {
            *g = (s / directions as f64) as f32;
        }
        Ok(here)
    }
}

/// The streams that directions are parts of.
fn streams(draw: &Draw, shared: bool) -> Stream {
    if shared {
        return Stream::new(draw.seed, Use::Shared, 0, draw.step);
    }
    let own = Stream::new(draw.seed, Use::Direction, draw.client, draw.step);
    match draw.batch {
        Batch::Row(row) => own.part(row as u64),
        _ => own,
    }
}

fn lost(mu: f64, x: f32) -> Error {
    Error::request(format!(
        "`mu` = {mu} is too small: beside a parameter of {x} f32 does not see it, and no difference of losses is left; \
         set mu to at least {:e}",
        1e-4 * f64::from(x.abs()).max(1.0)
    ))
}

impl Workload for ZerothOrder {
    fn layout(&self) -> &Layout {
        self.inner.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        match self.along {
            Along::Coordinates => self.coordinates(x, buffers, draw, gradient),
            Along::Gaussian { directions, shared } => {
                self.gaussian((directions, &streams(draw, shared)), x, buffers, draw, gradient)
            }
        }
    }

    fn loss(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        self.inner.loss(x, buffers, draw)
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.inner.load(state)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        self.inner.deal(former)
    }

    fn evaluate_client(&mut self, x: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.inner.evaluate_client(x, buffers, client)
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, buffers, split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::flat;
    use crate::estimate;
    use crate::grammar::Element;

    /// Rows f_i(x) = ½ Σⱼ (1 + j)(xⱼ − i)², of which only losses are known; it counts how many were asked for.
    struct Black(Layout, std::sync::Arc<std::sync::atomic::AtomicU64>);

    const ROWS: usize = 4;

    impl Workload for Black {
        fn layout(&self) -> &Layout {
            &self.0
        }

        fn start(&self, _: u64) -> Start {
            Start { parameters: vec![0.5; self.0.len()], buffers: vec![] }
        }

        fn rows(&self, _: u64) -> usize {
            ROWS
        }

        fn gradient(&mut self, _: &[f32], _: &mut [f32], _: &Draw, _: &mut [f32]) -> Result<f64> {
            Err(Error::request("only losses are known"))
        }

        fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let of = |i: usize| {
                let term = |(j, x): (usize, &f32)| 0.5 * (1.0 + j as f64) * (f64::from(*x) - i as f64).powi(2);
                x.iter().enumerate().map(term).sum::<f64>()
            };
            Ok(match draw.batch {
                Batch::Row(row) => of(row),
                Batch::Full => (0..ROWS).map(of).sum::<f64>() / ROWS as f64,
                _ => 0.0,
            })
        }

        fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
            Ok(None)
        }
    }

    fn draw(client: u64, step: u64, batch: Batch) -> Draw {
        Draw { seed: 3, client, step, batch }
    }

    /// The gradient that `text` makes of losses at `x`, the loss it tells, and how many losses it asked for.
    fn look(text: &str, x: &[f32], draw: &Draw) -> Result<(Vec<f32>, f64, u64)> {
        let asked = std::sync::Arc::default();
        let black = Black(Layout::vector(x.len()), std::sync::Arc::clone(&asked));
        let mut of = estimate::build(&Element::parse(text)?)?.wrap(Box::new(black));
        let mut gradient = vec![f32::NAN; x.len()];
        let loss = of.gradient(x, &mut [], draw, &mut gradient)?;
        Ok((gradient, loss, asked.load(std::sync::atomic::Ordering::Relaxed)))
    }

    #[test]
    fn central_differences_are_exact_on_quadratics_whatever_their_width() {
        let x = [0.3f32, -2.0, 1.5];
        for mu in [1e-3, 0.1, 1.0, 30.0] {
            let (gradient, loss, asked) = look(&format!("coosge({mu})"), &x, &draw(0, 0, Batch::Full)).unwrap();
            for (j, (g, x)) in gradient.iter().zip(x).enumerate() {
                let exact = (1.0 + j as f32) * (x - 1.5);
                assert!((g - exact).abs() < 1e-5 * (1.0 + exact.abs()), "mu = {mu}: {g} and {exact}");
            }
            let apart = loss - look("gausge", &x, &draw(0, 0, Batch::Full)).unwrap().1;
            assert!((apart - 0.5 * mu * mu * 6.0 / 3.0).abs() < 1e-6 * (1.0 + mu * mu), "f(x) to O(mu^2): {apart}");
            assert_eq!(asked, 6);
        }
    }

    #[test]
    fn directions_are_those_of_their_streams() {
        let x = [0.3f32, -2.0, 1.5, 0.0];
        let along = |text: &str, draw: &Draw| look(text, &x, draw).unwrap().0;
        let parallel = |g: &[f32], mut stream: Stream| {
            let u: Vec<f32> = g.iter().map(|_| stream.normal()).collect();
            (flat::dot(g, &u).abs() / flat::norm(g) / flat::norm(&u) - 1.0).abs() < 1e-6
        };
        let own = |client, step| Stream::new(3, Use::Direction, client, step);
        let (here, one) = (draw(5, 7, Batch::Full), draw(5, 7, Batch::Row(2)));
        assert!(parallel(&along("gausge", &here), own(5, 7).part(0)));
        assert!(parallel(&along("gausge", &one), own(5, 7).part(2).part(0)));
        for draw in [here, one, draw(6, 7, Batch::Full)] {
            assert!(parallel(&along("gausge(shared=true)", &draw), Stream::new(3, Use::Shared, 0, 7).part(0)));
        }
        // Control: other clients, steps and rows have other directions, and several make no one of them.
        for other in [draw(6, 7, Batch::Full), draw(5, 8, Batch::Full), draw(5, 7, Batch::Row(3))] {
            assert!(!parallel(&along("gausge", &other), own(5, 7).part(0)));
        }
        assert!(!parallel(&along("gausge(directions=2)", &here), own(5, 7).part(0)));
        assert_eq!(look("gausge(directions=3)", &x, &here).unwrap().2, 4, "one loss a direction, and one more");
    }

    #[test]
    fn a_draw_without_rows_has_no_gradient() {
        for text in ["coosge", "gausge(directions=2)"] {
            let (gradient, loss, _) = look(text, &[1.0, 2.0], &draw(0, 0, Batch::Poisson(1))).unwrap();
            assert_eq!((gradient, loss), (vec![0.0; 2], 0.0));
        }
    }

    #[test]
    fn a_distance_that_f32_does_not_see_is_an_error_with_a_cure() {
        for text in ["coosge(mu=1e-5)", "gausge(mu=1e-5)"] {
            let error = look(text, &[4096.0, 4096.0], &draw(0, 0, Batch::Full)).unwrap_err().to_string();
            assert!(error.contains("f32 does not see it") && error.contains("4.096e-1"), "{error}");
            look(text, &[0.1, 0.1], &draw(0, 0, Batch::Full)).unwrap();
        }
    }
}
