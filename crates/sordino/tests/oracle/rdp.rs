//! What privacy the subsampled Gaussian mechanism costs, by Rényi divergences of integer orders.
//!
//! ```text
//! one round:   ε(α) = ln(Σ_{j=0}^α C(α,j) (1-q)^{α-j} q^j exp((j² - j)/(2σ²))) / (α - 1)
//! T rounds:    T ε(α)
//! (ε, δ):      ε = min_α ε(α) + ln(1/δ)/(α-1)                              classic
//!              ε = min_α ε(α) + ln((α-1)/α) - (ln δ + ln α)/(α-1)          tight
//! ```
//!
//! Records are Poisson-sampled with probability q, noise of deviation σ C goes onto the sum, neighbours differ by one
//! record that is there or not. Orders are 2 to 256.
//!
//! References: Mironov, "Rényi Differential Privacy", arXiv 1702.07476; Mironov, Talwar and Zhang, arXiv 1908.10530;
//! the tight conversion: Canonne, Kamath and Steinke, arXiv 2004.00010.

/// How ε(α) becomes ε.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    /// Mironov's.
    Classic,
    /// Canonne, Kamath and Steinke's.
    Tight,
}

/// The largest order.
pub const ORDERS: u64 = 256;

/// ε(α) of one round.
pub fn divergence(q: f64, sigma: f64, alpha: u64) -> f64 {
    let a = alpha as f64;
    if q == 0.0 {
        return 0.0;
    }
    if q == 1.0 {
        return a / (2.0 * sigma * sigma);
    }
    let (mut binomial, mut terms) = (0.0, Vec::new());
    for j in 0..=alpha {
        let k = j as f64;
        if j > 0 {
            binomial += ((a - k + 1.0) / k).ln();
        }
        terms.push(binomial + (a - k) * (-q).ln_1p() + k * q.ln() + (k * k - k) / (2.0 * sigma * sigma));
    }
    let top = terms.iter().fold(f64::NEG_INFINITY, |most, &term| most.max(term));
    (top + terms.iter().map(|term| (term - top).exp()).sum::<f64>().ln()) / (a - 1.0)
}

/// ε at δ from ε(α) of everything that happened, given as a function of the order.
pub fn converted(total: &dyn Fn(u64) -> f64, delta: f64, conversion: Conversion) -> f64 {
    let mut best = f64::INFINITY;
    for alpha in 2..=ORDERS {
        let a = alpha as f64;
        let price = match conversion {
            Conversion::Classic => -delta.ln() / (a - 1.0),
            Conversion::Tight => ((a - 1.0) / a).ln() - (delta.ln() + a.ln()) / (a - 1.0),
        };
        best = best.min(total(alpha) + price);
    }
    best.max(0.0)
}

/// ε at δ of `rounds` equal rounds.
pub fn epsilon(q: f64, sigma: f64, rounds: u64, delta: f64, conversion: Conversion) -> f64 {
    converted(&|alpha| rounds as f64 * divergence(q, sigma, alpha), delta, conversion)
}
