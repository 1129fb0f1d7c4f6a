//! What a round tells, and where the time went.

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Rounds done.
    pub rounds: u64,
    /// Local steps done, those made while words travelled included.
    pub steps: u64,
    /// Local steps of this round.
    pub silence: u64,
    /// The rate of the round's first step.
    pub rate: f64,
    /// Mean mini-batch loss of this worker over the round.
    pub loss: f64,
    /// How many of the round's steps were shortened by clipping.
    pub clipped: u64,
    /// How many rows were clipped one by one.
    pub clipped_rows: u64,
    /// How many offers of this rank were shortened by clipping before they were sent.
    pub shortened: u64,
    /// How many voices this rank spoke for.
    pub spoke: u64,
    /// How many spoke in all.
    pub voices: u64,
    /// ‖what the feedback remembers‖.
    pub residual_norm: Option<f64>,
    /// What has been spent of privacy so far, where anything hides contributions.
    pub epsilon: Option<f64>,
    /// What rank 0 decided for everybody.
    pub flags: u8,
}

/// Where a worker's time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// In local steps.
    pub compute: f64,
    /// Processor time in local steps.
    pub cpu: f64,
    /// In sharing and from `close` to the end of the round, waiting included.
    pub close: f64,
    /// Of that, waiting for reports of federated clients on a virtual clock.
    pub waited: f64,
}
