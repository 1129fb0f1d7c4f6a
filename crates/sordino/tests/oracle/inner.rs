//! The optimizers that take the local steps: SGD with `PyTorch`'s momentum, and AdamW.
//!
//! Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101, in `PyTorch`'s form.

/// Which optimizer, with its constants.
#[derive(Clone, Copy, Debug)]
pub enum Inner {
    /// `g += wd x`, `m = μ m + g`, `x -= η m`; the first `m` is `g`.
    Sgd {
        /// μ.
        momentum: f64,
        /// wd.
        decay: f64,
    },
    /// `x *= 1 - η wd`, then `x -= η m̂ / (√v̂ + ε)` with both averages corrected for their start at zero.
    AdamW {
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// ε.
        epsilon: f64,
        /// wd.
        decay: f64,
    },
}

impl Inner {
    /// SGD without momentum or decay.
    pub const PLAIN: Inner = Inner::Sgd { momentum: 0.0, decay: 0.0 };
    /// AdamW with its usual constants and weight decay 0.01.
    pub const ADAMW: Inner = Inner::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01 };
}

/// One worker's optimizer state, zero at first.
#[derive(Clone, Debug)]
pub struct State {
    m: Vec<f64>,
    v: Vec<f64>,
    steps: i32,
}

impl State {
    /// Of `dim` parameters.
    pub fn new(dim: usize) -> Self {
        Self { m: vec![0.0; dim], v: vec![0.0; dim], steps: 0 }
    }

    /// Moves `x` by one step of rate `rate` along the gradient `g`.
    pub fn step(&mut self, inner: Inner, rate: f64, x: &mut [f64], g: &[f64]) {
        self.steps += 1;
        for j in 0..x.len() {
            match inner {
                Inner::Sgd { momentum, decay } => {
                    self.m[j] = momentum * self.m[j] + (g[j] + decay * x[j]);
                    x[j] -= rate * self.m[j];
                }
                Inner::AdamW { beta1, beta2, epsilon, decay } => {
                    x[j] *= 1.0 - rate * decay;
                    self.m[j] = beta1 * self.m[j] + (1.0 - beta1) * g[j];
                    self.v[j] = beta2 * self.v[j] + (1.0 - beta2) * g[j] * g[j];
                    let m_hat = self.m[j] / (1.0 - beta1.powi(self.steps));
                    let v_hat = self.v[j] / (1.0 - beta2.powi(self.steps));
                    x[j] -= rate * m_hat / (v_hat.sqrt() + epsilon);
                }
            }
        }
    }
}
