//! Gradients of a finite sum of functions of which only values can be had: the two estimators of the zeroth-order rows.
//!
//! ```text
//! CooSGE:  ĝ_i(x) = Σ_j [f_i(x + μ e_j) - f_i(x - μ e_j)] / (2μ) · e_j         (2d values)
//! GauSGE:  ĝ_i(x) = [f_i(x + μ u) - f_i(x)] / μ · u ,  u ~ N(0, I)              (2 values)
//! ```
//!
//! Reference: Huang et al., "Faster Gradient-Free Proximal Stochastic Methods for Nonconvex Nonsmooth Optimization",
//! arXiv 1902.06158.

/// A mean of n functions of d variables.
pub struct Sum<'a> {
    /// n.
    pub n: usize,
    /// d.
    pub d: usize,
    /// `f_i(x)`: `(i, x)`.
    pub f: &'a dyn Fn(usize, &[f64]) -> f64,
}

/// How a gradient is made of values.
#[derive(Clone, Copy)]
pub enum Estimator<'a> {
    /// CooSGE with this μ, the same along every coordinate.
    Coordinate(f64),
    /// GauSGE with this μ.
    Gaussian(f64),
    /// The gradient itself, `(i, x)`: what the estimators are compared with.
    Exact(&'a dyn Fn(usize, &[f64]) -> Vec<f64>),
}

/// `x + h u`.
pub fn along(x: &[f64], h: f64, u: &[f64]) -> Vec<f64> {
    (0..x.len()).map(|j| x[j] + h * u[j]).collect()
}

/// `e_j`.
pub fn unit(j: usize, d: usize) -> Vec<f64> {
    (0..d).map(|l| f64::from(u8::from(l == j))).collect()
}

/// `ĝ_i(x)`; only GauSGE looks along `u`.
pub fn estimate(sum: &Sum, estimator: Estimator, i: usize, x: &[f64], u: &[f64]) -> Vec<f64> {
    match estimator {
        Estimator::Coordinate(mu) => (0..sum.d)
            .map(|j| {
                let e = unit(j, sum.d);
                ((sum.f)(i, &along(x, mu, &e)) - (sum.f)(i, &along(x, -mu, &e))) / (2.0 * mu)
            })
            .collect(),
        Estimator::Gaussian(mu) => {
            let slope = ((sum.f)(i, &along(x, mu, u)) - (sum.f)(i, x)) / mu;
            u.iter().map(|a| slope * a).collect()
        }
        Estimator::Exact(gradient) => gradient(i, x),
    }
}
