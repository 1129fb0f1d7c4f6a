//! Problems with several workers, deterministic in (worker, step), whose loss and gradient can be checked by hand.

/// A rate for every step, counted from 0.
pub type Rate<'a> = &'a dyn Fn(u64) -> f64;

/// Random numbers an encoder draws: entry `j` of worker `i`'s vector in round `r`, uniform in `[0, 1)`. The arguments
/// are worker, round, entry; the entry counts over the whole flat vector.
pub type Uniform<'a> = &'a dyn Fn(usize, u64, usize) -> f64;

/// A compressor: a vector in, the vector the receiver decodes out.
pub type Compressor<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// What worker `i` makes of a vector in step or round `t`: `(i, t, vector)`.
pub type PerWorker<'a> = &'a dyn Fn(usize, u64, &[f64]) -> Vec<f64>;

/// A problem with N workers. The step may select noise or batches, always the same for the same (worker, step).
pub trait Problem {
    /// How many workers there are.
    fn workers(&self) -> usize;
    /// How many parameters there are.
    fn dim(&self) -> usize;
    /// Where everybody starts.
    fn start(&self) -> Vec<f64>;
    /// The gradient worker `worker` sees at `x` in step `step`.
    fn gradient(&self, worker: usize, step: u64, x: &[f64]) -> Vec<f64>;
    /// The mean of the workers' losses, without noise.
    fn loss(&self, x: &[f64]) -> f64;
}

/// A uniform number in `[0, 1)` that depends on nothing but the four integers.
pub fn uniform(seed: u64, worker: usize, step: u64, entry: usize) -> f64 {
    let mut z = 0u64;
    for word in [seed, worker as u64, step, entry as u64] {
        z = z.wrapping_add(word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number that depends on nothing but the four integers (Box-Muller).
pub fn normal(seed: u64, worker: usize, step: u64, entry: usize) -> f64 {
    let (a, b) = (uniform(seed, worker, step, 2 * entry), uniform(seed, worker, step, 2 * entry + 1));
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Noise added to every entry of every gradient.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    /// None: full gradients.
    None,
    /// Uniform in `[-width, width)`.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

impl Noise {
    fn at(self, seed: u64, worker: usize, step: u64, entry: usize) -> f64 {
        match self {
            Noise::None => 0.0,
            Noise::Uniform(width) => width * (2.0 * uniform(seed, worker, step, entry) - 1.0),
            Noise::Normal(deviation) => deviation * normal(seed, worker, step, entry),
        }
    }
}

/// Heterogeneous diagonal quadratics: `f_i(x) = ½ Σ_j h_ij (x_j - c_ij)²`.
#[derive(Clone, Debug)]
pub struct Quadratics {
    /// `h_ij`, a row a worker.
    pub curvature: Vec<Vec<f64>>,
    /// `c_ij`, a row a worker.
    pub centres: Vec<Vec<f64>>,
    /// The first model.
    pub start: Vec<f64>,
    /// Added to every gradient.
    pub noise: Noise,
    /// Of the noise.
    pub seed: u64,
}

impl Quadratics {
    /// Curvatures from 0.1 to 1, the same for all workers but for a factor of up to 2, and centres spread around 3 and
    /// -2 by turns; start at 0. Not from any paper.
    pub fn scattered(workers: usize, dim: usize, noise: Noise) -> Self {
        let curvature =
            |i: usize, j: usize| 0.1 * 10f64.powf(j as f64 / dim as f64) * (1.0 + ((i + j) % 3) as f64 / 2.0);
        let centre =
            |i: usize, j: usize| if j.is_multiple_of(2) { 3.0 } else { -2.0 } + ((3 * i + 5 * j + 1) as f64).sin();
        let table = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            (0..workers).map(|i| (0..dim).map(|j| entry(i, j)).collect()).collect()
        };
        Self { curvature: table(&curvature), centres: table(&centre), start: vec![0.0; dim], noise, seed: 17 }
    }

    /// The minimiser of the mean of the workers' losses.
    pub fn minimiser(&self) -> Vec<f64> {
        let weighted = |j: usize| (0..self.workers()).map(|i| self.curvature[i][j] * self.centres[i][j]).sum::<f64>();
        let weight = |j: usize| (0..self.workers()).map(|i| self.curvature[i][j]).sum::<f64>();
        (0..self.dim()).map(|j| weighted(j) / weight(j)).collect()
    }
}

impl Problem for Quadratics {
    fn workers(&self) -> usize {
        self.centres.len()
    }

    fn dim(&self) -> usize {
        self.start.len()
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn gradient(&self, i: usize, step: u64, x: &[f64]) -> Vec<f64> {
        let exact = |j: usize| self.curvature[i][j] * (x[j] - self.centres[i][j]);
        (0..x.len()).map(|j| exact(j) + self.noise.at(self.seed, i, step, j)).collect()
    }

    fn loss(&self, x: &[f64]) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.workers() {
            for j in 0..x.len() {
                sum += 0.5 * self.curvature[i][j] * (x[j] - self.centres[i][j]).powi(2);
            }
        }
        sum / self.workers() as f64
    }
}

/// Logistic regression on a small dense data set made by a formula:
/// `f_i(x) = mean over worker i's rows of log(1 + exp(-y a·x)) + ½ l2 ‖x‖²`. Not from any paper.
#[derive(Clone, Debug)]
pub struct Logistic {
    /// `features[i][r]` is row `r` of worker `i`.
    pub features: Vec<Vec<Vec<f64>>>,
    /// `labels[i][r]` is -1 or +1.
    pub labels: Vec<Vec<f64>>,
    /// The weight of `½ ‖x‖²`.
    pub l2: f64,
    /// Rows in one gradient, taken in turn; `None` for all.
    pub batch: Option<usize>,
}

impl Logistic {
    /// `rows` rows a worker; later workers see features further from the origin and more positive labels.
    pub fn waves(workers: usize, rows: usize, dim: usize, l2: f64, batch: Option<usize>) -> Self {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for i in 0..workers {
            let (mut block, mut signs) = (Vec::new(), Vec::new());
            for r in 0..rows {
                let s = (i * rows + r + 1) as f64;
                let row: Vec<f64> = (0..dim).map(|j| (s * (1.0 + 0.37 * j as f64)).sin() + 0.2 * i as f64).collect();
                let score: f64 = (0..dim).map(|j| row[j] * (1.0 + j as f64).cos()).sum::<f64>() + 0.8 * (7.0 * s).sin();
                signs.push(if score >= 0.0 { 1.0 } else { -1.0 });
                block.push(row);
            }
            features.push(block);
            labels.push(signs);
        }
        Self { features, labels, l2, batch }
    }
}

impl Problem for Logistic {
    fn workers(&self) -> usize {
        self.features.len()
    }

    fn dim(&self) -> usize {
        self.features[0][0].len()
    }

    fn start(&self) -> Vec<f64> {
        vec![0.0; self.dim()]
    }

    fn gradient(&self, i: usize, step: u64, x: &[f64]) -> Vec<f64> {
        let rows = self.features[i].len();
        let count = self.batch.unwrap_or(rows);
        let first = if self.batch.is_none() { 0 } else { step as usize * count };
        let mut g: Vec<f64> = x.iter().map(|v| self.l2 * v).collect();
        for b in 0..count {
            let r = (first + b) % rows;
            let (a, y) = (&self.features[i][r], self.labels[i][r]);
            let margin: f64 = y * (0..x.len()).map(|j| a[j] * x[j]).sum::<f64>();
            for j in 0..x.len() {
                g[j] -= y * a[j] / (1.0 + margin.exp()) / count as f64;
            }
        }
        g
    }

    fn loss(&self, x: &[f64]) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.workers() {
            for r in 0..self.features[i].len() {
                let score: f64 = (0..x.len()).map(|j| self.features[i][r][j] * x[j]).sum();
                sum += (-self.labels[i][r] * score).exp().ln_1p() / self.features[i].len() as f64;
            }
        }
        sum / self.workers() as f64 + 0.5 * self.l2 * x.iter().map(|v| v * v).sum::<f64>()
    }
}

/// Quartics, smooth only in the relaxed sense: `f_i(x) = ¼ Σ_j a_j (x_j - c_ij)⁴`. With one parameter, `a = 4` and
/// `c = 0` this is `x⁴`.
#[derive(Clone, Debug)]
pub struct Quartics {
    /// `a_j`.
    pub scale: Vec<f64>,
    /// `c_ij`, a row a worker.
    pub centres: Vec<Vec<f64>>,
    /// The first model.
    pub start: Vec<f64>,
    /// Added to every gradient.
    pub noise: Noise,
    /// Of the noise.
    pub seed: u64,
}

impl Quartics {
    /// Scales 1, ½, ⅓, ..., centres within ½ of the origin, start at 2: steep where the run begins, flat where it ends.
    pub fn scattered(workers: usize, dim: usize, noise: Noise) -> Self {
        let centre = |i: usize, j: usize| 0.5 * ((2 * i + 7 * j + 3) as f64).cos();
        Self {
            scale: (0..dim).map(|j| 1.0 / (1 + j) as f64).collect(),
            centres: (0..workers).map(|i| (0..dim).map(|j| centre(i, j)).collect()).collect(),
            start: vec![2.0; dim],
            noise,
            seed: 23,
        }
    }
}

impl Problem for Quartics {
    fn workers(&self) -> usize {
        self.centres.len()
    }

    fn dim(&self) -> usize {
        self.start.len()
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn gradient(&self, i: usize, step: u64, x: &[f64]) -> Vec<f64> {
        let exact = |j: usize| self.scale[j] * (x[j] - self.centres[i][j]).powi(3);
        (0..x.len()).map(|j| exact(j) + self.noise.at(self.seed, i, step, j)).collect()
    }

    fn loss(&self, x: &[f64]) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.workers() {
            for j in 0..x.len() {
                sum += 0.25 * self.scale[j] * (x[j] - self.centres[i][j]).powi(4);
            }
        }
        sum / self.workers() as f64
    }
}

/// A problem given by two closures.
pub struct Given<'a> {
    /// How many workers.
    pub workers: usize,
    /// The first model.
    pub start: Vec<f64>,
    /// The gradient of (worker, step) at `x`.
    pub gradient: PerWorker<'a>,
    /// The loss at `x`.
    pub loss: &'a dyn Fn(&[f64]) -> f64,
}

impl Problem for Given<'_> {
    fn workers(&self) -> usize {
        self.workers
    }

    fn dim(&self) -> usize {
        self.start.len()
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn gradient(&self, worker: usize, step: u64, x: &[f64]) -> Vec<f64> {
        (self.gradient)(worker, step, x)
    }

    fn loss(&self, x: &[f64]) -> f64 {
        (self.loss)(x)
    }
}
