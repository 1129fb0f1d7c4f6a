//! The named rows: every published method as choices, data and not code.

use crate::base::Result;
use crate::grammar::unknown;

/// One published method.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Where it is from.
    pub paper: &'static str,
    /// Its choices; every other axis is neutral.
    pub choices: &'static [(&'static str, &'static str)],
    /// What of the paper is pinned, and what is not.
    pub notes: &'static str,
}

/// The row of that name.
pub fn row(name: &str) -> Result<&'static Row> {
    ROWS.iter().find(|r| r.name == name).ok_or_else(|| unknown("method", name, ROWS.iter().map(|r| r.name)))
}

/// Every row, in alphabetical order.
pub const ROWS: &[Row] = &[
    Row {
        name: "acpd",
        about: "straggler-agnostic dual coordinate ascent: the server goes on with half of the workers, few entries travel",
        paper: "ACPD, arXiv 1910.04235",
        choices: &[
            ("local", "dual"),
            ("schedule", "constant(200)"),
            ("compress", "topk(0.05, scope=model)"),
            ("feedback", "residual(lambda=auto)"),
            ("aggregate", "sum(0.5)"),
            ("exchange", "star(down=topk(0.05, scope=model), feedback=residual)"),
            ("participation", "first_b(2)"),
            ("staleness", "bounded(20)"),
        ],
        notes: "The paper's text sends what a worker has not been told as it is (exchange.down=dense here sends the model), \
                its code the largest entries of it, as here. B is half of four workers, T = 20 and gamma = 0.5; s is a \
                share of d. sigma' stands in the curvature, which the code leaves out.",
    },
    Row {
        name: "async-sgd",
        about: "a server that steps along every gradient as it comes; nobody waits for anybody",
        paper: "asynchronous SGD, as in arXiv 2206.08307",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("payload", "gradient"),
            ("exchange", "star"),
            ("participation", "first_b(1)"),
            ("staleness", "any"),
        ],
        notes: "N workers make N steps in the time of one synchronous step, each at the full rate: lower optim.rate with \
                more workers. Momentum on the server changes the analysis, so it is 0.",
    },
    Row {
        name: "bingrad-b",
        about: "gradients in one bit: two levels per bucket, the means of both sides of the bucket's mean",
        paper: "BinGrad and ORQ, arXiv 2002.11082",
        choices: &[("payload", "gradient"), ("compress", "bingrad(b)")],
        notes: "Bucket 2048 and the one-pass threshold are from memory of the paper; no error feedback, as there.",
    },
    Row {
        name: "bingrad-pb",
        about: "gradients in one bit: levels ±b, random inside and biased outside, b optimal",
        paper: "BinGrad and ORQ, arXiv 2002.11082",
        choices: &[("payload", "gradient"), ("compress", "bingrad(pb)")],
        notes: "The condition for b is derived; no error feedback, as in the paper.",
    },
    Row {
        name: "celgc",
        about: "local clipped SGD with skipped rounds: a step is min(rate, gamma/|g|) long",
        paper: "CELGC, arXiv 2205.05040 (NeurIPS 2022)",
        choices: &[
            ("optim", "sgd(momentum=0, clip=auto)"),
            ("schedule", "constant(8)"),
            ("payload", "parameters"),
            ("exchange", "reduce"),
            ("buffers", "local"),
        ],
        notes: "The paper tries I = 2 to 32. gamma/rate is the task's threshold. Meetings are at the end of a round; \
                the authors' code averages before the gradient, which is the same trajectory.",
    },
    Row {
        name: "clars",
        about: "every tensor steps by its own size over the mean of its micro-batch gradients' norms",
        paper: "CLARS, arXiv 2002.01576 (AAAI 2021)",
        choices: &[
            ("optim", "clars(decay=0.0002)"),
            ("local", "descent(estimate=micro_norms)"),
            ("payload", "gradient"),
            ("exchange", "reduce"),
        ],
        notes: "Trust 0.01, cap 0.1, momentum, decay and micro-batches of 8 rows are the authors'; their rate falls as a \
                square, here as the task's. rate=auto is ours.",
    },
    Row {
        name: "clip-gd",
        about: "clips every worker's gradient and averages: the baseline that stalls on unequal data",
        paper: "baseline of Clip21, arXiv 2305.18929",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("compress", "dense(clip=auto)"),
        ],
        notes: "The paper uses full local gradients: set local.batch=full.",
    },
    Row {
        name: "clip21",
        about: "clips the difference to a shift that both ends hold; clipping dies out and what is left is gradient descent",
        paper: "Clip21, arXiv 2305.18929",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("compress", "dense(clip=auto)"),
            ("feedback", "ef21"),
        ],
        notes: "The paper uses full local gradients: set local.batch=full. With mini-batches it is their heuristic \
                Clip21-SGD.",
    },
    Row {
        name: "clip21-sgd2m",
        about: "Clip21 for noisy gradients: momentum on what is compared with the shift, and a shift that moves by less",
        paper: "Clip21-SGD2M, arXiv 2502.11682",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("compress", "dense(clip=auto)"),
            ("feedback", "ef21(momentum=0.1, step=0.1)"),
        ],
        notes: "From a statement in another paper: reconstruction. Under noise set privacy=gaussian(remember=clean) and compress=dense: the shift moves by the clipped vector.",
    },
    Row {
        name: "cocoa",
        about: "dual coordinate ascent on every worker's rows, averaged",
        paper: "CoCoA, arXiv 1409.1458 (NeurIPS 2014)",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("local", "dual"),
            ("schedule", "epochs(1)"),
            ("exchange", "reduce"),
        ],
        notes: "gamma 1/K, sigma' 1. H is one pass over a worker's rows, picked with replacement; schedule=constant(200) \
                makes it 200 rows. Linear tasks with l2: made-ridge, mushrooms-ridge, ridge.",
    },
    Row {
        name: "cocoa-plus",
        about: "dual coordinate ascent on every worker's rows, added up: each reckons with K times its own moves",
        paper: "CoCoA+, arXiv 1502.03508 (ICML 2015)",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("local", "dual"),
            ("schedule", "epochs(1)"),
            ("aggregate", "sum(gamma=1)"),
            ("exchange", "reduce"),
        ],
        notes: "gamma 1, sigma' K. H is one pass over a worker's rows, picked with replacement; schedule=constant(200) \
                makes it 200 rows. Linear tasks with l2: made-ridge, mushrooms-ridge, ridge.",
    },
    Row {
        name: "def",
        about: "detached error feedback: gradients at x minus 0.3 of the residual, one random block sent, the same everywhere",
        paper: "DEF, arXiv 2004.05298v3 (ICML 2022)",
        choices: &[
            ("compress", "block(0.015625)"),
            ("feedback", "residual(lambda=0.3, evaluate=mean)"),
            ("exchange", "reduce"),
        ],
        notes: "Ratio 64 and lambda 0.3 are the authors'. Evaluated at x minus the mean residual, as their code does; \
                feedback.evaluate=x is the other reading.",
    },
    Row {
        name: "delay-adaptive-sgd",
        about: "asynchronous SGD that lowers the rate for gradients later than there are workers",
        paper: "delay-adaptive steps, arXiv 2206.08307 (NeurIPS 2022)",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("payload", "gradient"),
            ("exchange", "star"),
            ("participation", "first_b(1)"),
            ("staleness", "delay_adaptive"),
        ],
        notes: "The threshold is the number of workers, the rate beyond it rate/delay: the paper's practical choice.",
    },
    Row {
        name: "diloco",
        about: "many AdamW steps, then outer Nesterov momentum on the mean displacement",
        paper: "DiLoCo, arXiv 2311.08105",
        choices: &[
            ("optim", "adamw(decay=0.1)"),
            ("schedule", "constant(50)"),
            ("exchange", "auto"),
            ("outer", "momentum(0.9, nesterov=true, rate=0.7)"),
        ],
        notes: "Outer rate 0.7 and momentum 0.9 are the paper's; its 500 local steps are for runs of 88 000.",
    },
    Row {
        name: "dp-clip21",
        about: "Clip21 with noise: what a worker sends is bounded and hidden, and later differences mend the noise",
        paper: "Clip21, arXiv 2305.18929",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("feedback", "ef21"),
            ("privacy", "gaussian(unit=client)"),
        ],
        notes: "The bounded placement, shifts with the noise: privacy.remember=clean is the other one, whose error grows. clip(gradient - shift) + noise, full local gradients in the paper: set local.batch=full.",
    },
    Row {
        name: "dp-fedavg",
        about: "federated averaging that hides each client: clipped displacements of a Poisson draw, noise on their sum",
        paper: "DP-FedAvg, arXiv 1710.06963",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "mean(by=expected)"),
            ("exchange", "star"),
            ("participation", "poisson(10)"),
            ("privacy", "gaussian(unit=client, trust=server)"),
        ],
        notes: "Clients count alike; the sum is divided by the expected number of clients.",
    },
    Row {
        name: "dp-sgd",
        about: "gradients clipped row by row, with noise, on Poisson batches",
        paper: "DP-SGD, arXiv 1607.00133",
        choices: &[
            ("local", "descent(batch=poisson(32), estimate=per_sample)"),
            ("payload", "gradient"),
            ("exchange", "reduce"),
            ("privacy", "gaussian(unit=sample)"),
        ],
        notes: "Each worker hides its own rows from everybody, the other workers included.",
    },
    Row {
        name: "dsp",
        about: "blocks of layers on a pipeline of workers that wait for nobody: each learns from errors some batches old",
        paper: "DSP, arXiv 1909.02625 (CVPR 2020)",
        choices: &[("payload", "auto"), ("exchange", "auto"), ("placement", "pipeline(capacity=1, stale=recompute)")],
        notes: "One batch waits on every link; a block passes an old batch again at the weights of the day. The rate of the \
                first block is that of all (the authors' predecessor doubles it). A network with batch normalisation is \
                refused.",
    },
    Row {
        name: "ef-sgd",
        about: "scaled sign both ways with error feedback on workers and server",
        paper: "EF-signSGD, arXiv 1901.09847; the baseline of SAEF, arXiv 2008.05823",
        choices: &[
            ("compress", "sign"),
            ("feedback", "residual"),
            ("exchange", "star(down=sign, feedback=residual)"),
            ("buffers", "root"),
        ],
        notes: "As in the SAEF code with -cb -sec; SAEF with lambda 0.",
    },
    Row {
        name: "ef21",
        about: "compressed differences of gradients to shifts that both ends hold",
        paper: "EF21, arXiv 2106.05203",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("compress", "topk(0.05)"),
            ("feedback", "ef21"),
        ],
        notes: "Shifts start at 0. The theory is for full local gradients: set local.batch=full.",
    },
    Row {
        name: "fedadam",
        about: "federated averaging with Adam on the server",
        paper: "FedOpt, arXiv 2003.00295",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "weighted"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
            ("outer", "fedadam"),
        ],
        notes: "No bias correction; tau 0.001 and the betas are the paper's, the server rate is to be tuned.",
    },
    Row {
        name: "fedavg",
        about: "local epochs on a few clients, averaged by rows",
        paper: "FedAvg, arXiv 1602.05629",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "weighted"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
        ],
        notes: "Weights are normalised over those that report.",
    },
    Row {
        name: "fedbuff",
        about: "buffered asynchronous federated averaging: ten reports make an update, late ones count less",
        paper: "FedBuff, arXiv 2106.06639 (AISTATS 2022)",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "constant(4)"),
            ("exchange", "star"),
            ("participation", "buffered(10, clients=auto)"),
            ("staleness", "discount(0.5)"),
        ],
        notes: "Buffer of 10 and 1/sqrt(1 + delay) are the paper's. As many clients are at work at the same time as there \
                are workers.",
    },
    Row {
        name: "fedmom",
        about: "federated averaging with Nesterov momentum on the server",
        paper: "FedMom, arXiv 2002.02090",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "weighted"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
            ("outer", "momentum(0.9, nesterov=true)"),
        ],
        notes: "Clients make plain SGD steps; beta 0.9 and server rate 1 are the authors'; weights are normalised over those that report.",
    },
    Row {
        name: "fedprox",
        about: "federated averaging with a pull towards the model that a round began from",
        paper: "FedProx, arXiv 1812.06127",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset, prox=0.1)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "weighted"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
        ],
        notes: "The paper tries mu from 0.001 to 1.",
    },
    Row {
        name: "fedyogi",
        about: "federated averaging with Yogi on the server",
        paper: "FedOpt, arXiv 2003.00295",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "weighted"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
            ("outer", "fedyogi"),
        ],
        notes: "No bias correction; tau 0.001 and the betas are the paper's, the server rate is to be tuned.",
    },
    Row {
        name: "gpipe",
        about: "blocks of layers on a pipeline of workers: a batch in eight parts that follow one another, one step",
        paper: "GPipe, arXiv 1811.06965 (NeurIPS 2019)",
        choices: &[("payload", "auto"), ("exchange", "auto"), ("placement", "pipeline(capacity=0, micro=8)")],
        notes: "Exact back-propagation to rounding. Passes are kept; the paper makes them again to save memory.",
    },
    Row {
        name: "lamb",
        about: "large batches with Adam: every tensor steps by the rate times its norm",
        paper: "LAMB, arXiv 1904.00962 (ICLR 2020)",
        choices: &[("optim", "lamb"), ("payload", "gradient"), ("exchange", "reduce")],
        notes: "Biases and norms take Adam's own step without decay, as in the authors' code. rate=auto is ours.",
    },
    Row {
        name: "lars",
        about: "large batches with momentum: every tensor steps by its norm over its gradient's",
        paper: "LARS, arXiv 1708.03888; the baseline of CLARS, arXiv 2002.01576",
        choices: &[("optim", "lars(decay=0.0002)"), ("payload", "gradient"), ("exchange", "reduce")],
        notes: "As in the code of CLARS: biases and norms are not scaled, but decayed. It wants a warm-up; \
                rate=auto is ours.",
    },
    Row {
        name: "local-sgd",
        about: "the same number of local steps between averages of the parameters",
        paper: "local SGD, arXiv 1805.09767",
        choices: &[("schedule", "constant(8)"), ("payload", "auto"), ("exchange", "auto")],
        notes: "",
    },
    Row {
        name: "mixed-clip",
        about: "synchronous steps along clipped momentum and clipped gradient at once",
        paper: "improved analysis of clipping, arXiv 2010.02519 (NeurIPS 2020)",
        choices: &[("optim", "mixclip(gamma=auto)"), ("payload", "gradient"), ("exchange", "reduce")],
        notes: "nu 0.7, beta 0.999 and the soft rule are the authors'; gamma/rate is the task's threshold. The averaged \
                gradient is clipped.",
    },
    Row {
        name: "momentum-clip",
        about: "synchronous steps along clipped momentum",
        paper: "improved analysis of clipping, arXiv 2010.02519 (NeurIPS 2020)",
        choices: &[("optim", "mixclip(nu=1, beta=0.9, gamma=auto)"), ("payload", "gradient"), ("exchange", "reduce")],
        notes: "beta 0.9 and the soft rule are those of the authors' code; gamma/rate is the task's threshold.",
    },
    Row {
        name: "orq",
        about: "gradients in few bits with optimal unbiased levels per bucket",
        paper: "BinGrad and ORQ, arXiv 2002.11082",
        choices: &[("payload", "gradient"), ("compress", "orq(9)")],
        notes: "3, 5 or 9 levels; bucket 2048 and the recursive construction are from memory of the paper.",
    },
    Row {
        name: "ouroboros",
        about: "blocks of layers in a ring of workers, first and last on one: errors are an iteration old at every link",
        paper: "Ouroboros, arXiv 1909.06695 (NeurIPS 2019)",
        choices: &[
            ("optim", "adam"),
            ("payload", "auto"),
            ("exchange", "auto"),
            ("placement", "pipeline(capacity=1, stale=stash, ring=true)"),
        ],
        notes: "K blocks on K - 1 workers. Passes are kept, so that a gradient is of one old point; what the first and the \
                last block share takes one step along the sum of both. Adam as in the paper's experiments; its warm-up is \
                left open.",
    },
    Row {
        name: "parallel-clip",
        about: "synchronous SGD clipped by the norm of the averaged gradient",
        paper: "baseline of CELGC, arXiv 2205.05040",
        choices: &[("optim", "sgd(momentum=0, clip=auto)"), ("payload", "gradient"), ("exchange", "reduce")],
        notes: "The authors' code averages the model as well, which changes nothing and doubles the bytes.",
    },
    Row {
        name: "picky-sgd",
        about: "asynchronous SGD that skips gradients taken at points too far from where the model is now",
        paper: "Picky SGD, arXiv 2106.11879 (NeurIPS 2021)",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("payload", "gradient"),
            ("exchange", "star"),
            ("participation", "first_b(1)"),
            ("staleness", "distance"),
        ],
        notes: "The paper's threshold is epsilon/(2 beta) of a target and a smoothness nobody knows; auto is ours: what eight \
                steps along gradients of the task's usual size go.",
    },
    Row {
        name: "pipeline-sync",
        about: "the reference of pipelines: blocks of layers, one batch at a time, exact back-propagation",
        paper: "none",
        choices: &[("payload", "auto"), ("exchange", "auto"), ("placement", "pipeline(capacity=0)")],
        notes: "One worker works while the others wait.",
    },
    Row {
        name: "post-local-sgd",
        about: "synchronous first, then local SGD",
        paper: "post-local SGD, arXiv 1808.07217",
        choices: &[("schedule", "post_local"), ("payload", "auto"), ("exchange", "auto")],
        notes: "The paper switches at the first drop of the rate; here half-way, 16 local steps.",
    },
    Row {
        name: "powersgd",
        about: "gradients of matrices in rank 2, by warm-started power iteration and error feedback, over all-reduce",
        paper: "PowerSGD, arXiv 1905.13727 (NeurIPS 2019)",
        choices: &[
            ("payload", "gradient"),
            ("compress", "powersgd(2)"),
            ("feedback", "residual"),
            ("exchange", "reduce"),
        ],
        notes: "Rank 2 is the paper's for images; its language model takes 4. The residual is in units of gradients; \
                momentum and decay act on what was agreed. The paper's momentum steps along g + m, m = mu m + g, which is \
                neither heavy ball (m) nor optim.nesterov=true (g + mu m): the optimizer is left open.",
    },
    Row {
        name: "press-clip21",
        about: "Clip21 with a compressor behind the clipping",
        paper: "Clip21, arXiv 2305.18929",
        choices: &[
            ("optim", "sgd(momentum=0, schedule=constant)"),
            ("payload", "gradient"),
            ("compress", "topk(ratio=0.25, clip=auto)"),
            ("feedback", "ef21"),
        ],
        notes: "Clip first, then compress. The paper uses full local gradients: set local.batch=full.",
    },
    Row {
        name: "qsgd",
        about: "gradients in few bits with evenly spaced levels and random rounding",
        paper: "QSGD, arXiv 1610.02132",
        choices: &[("payload", "gradient"), ("compress", "qsgd")],
        notes: "",
    },
    Row {
        name: "qsr",
        about: "local steps whose number grows as the inverse square of the annealed rate",
        paper: "QSR, arXiv 2310.14423 (ICLR 2024)",
        choices: &[("schedule", "qsr"), ("payload", "auto"), ("exchange", "auto"), ("buffers", "reestimate")],
        notes: "Optimizer state is never averaged. Inside optim=sgd or optim=adamw. alpha=auto is ours; the paper tunes it.",
    },
    Row {
        name: "residual-mixture",
        about: "descent walks on from x minus a residual, while x takes over a few of its coordinates at a time: every \
                coordinate of x is one that the walk had when it was last drawn",
        paper: "a reconstruction: stands for RSGD(m), arXiv 2004.05298 v1 and v2, whose text could not be read",
        choices: &[("compress", "randk(0.1)"), ("feedback", "residual(lambda=1)")],
        notes: "Reconstruction. The abstracts of v1 and v2 promise a residual scheme that exploits the path of SGD; the rule \
                is in no source that could be opened, and v3 of that number is DEF. This is the recursion of the authors' \
                step-ahead code with a random mask, on one worker (--workers 1) exactly a coordinate-wise mixture of the \
                path of SGD; no claim of the paper is pinned to it. With compress=topk the mask takes the coordinates that \
                lag most.",
    },
    Row {
        name: "saef",
        about: "scaled sign both ways; gradients are taken a whole residual ahead",
        paper: "SAEF, arXiv 2008.05823 (AAAI 2021)",
        choices: &[
            ("compress", "sign"),
            ("feedback", "residual(lambda=1)"),
            ("exchange", "star(down=sign, feedback=residual)"),
            ("buffers", "root"),
        ],
        notes: "The authors' reference commands: sign, compressed back with server error feedback, no error averaging \
                (for top-k they average every 20 rounds: feedback.every=20).",
    },
    Row {
        name: "scaffold",
        about: "local steps that control variates correct for what clients differ in",
        paper: "SCAFFOLD, arXiv 1910.06378",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "scaffold(state=reset)"),
            ("schedule", "epochs(1)"),
            ("aggregate", "mean"),
            ("exchange", "star"),
            ("participation", "sampled(10)"),
        ],
        notes: "Option II; clients count alike; twice the bytes of federated averaging each way.",
    },
    Row {
        name: "slowmo",
        about: "local steps, then slow momentum on what they add up to",
        paper: "SlowMo, arXiv 1910.00643",
        choices: &[
            ("optim", "sgd(schedule=cosine)"),
            ("local", "descent(state=auto)"),
            ("schedule", "constant(12)"),
            ("exchange", "auto"),
            ("outer", "momentum(0.7, per_rate=true)"),
        ],
        notes: "alpha 1, beta between 0.4 and 0.8, 12 steps as for CIFAR. local.state=auto resets SGD's momentum at a meeting and keeps Adam's. The buffer is \
                in gradient units, so a rate that warms up from almost nothing fills it with huge numbers: no warm-up.",
    },
    Row {
        name: "sync-sgd",
        about: "the reference: gradients averaged at every step, as data-parallel training does",
        paper: "none",
        choices: &[("payload", "gradient"), ("exchange", "reduce")],
        notes: "The whole optimizer runs after the exchange, AdamW included.",
    },
    Row {
        name: "terngrad",
        about: "gradients as -s, 0, +s at random",
        paper: "TernGrad, arXiv 1705.07878",
        choices: &[("payload", "gradient"), ("compress", "terngrad")],
        notes: "One scale per tensor and worker; the paper shares the largest scale among workers.",
    },
    Row {
        name: "zo-proxsaga",
        about: "from losses alone: mini-batches corrected by what each row said last, and a soft threshold",
        paper: "ZO-ProxSAGA, arXiv 1902.06158 (AAAI 2019)",
        choices: &[
            ("optim", "sgd(momentum=0, prox=l1, schedule=constant)"),
            ("local", "descent(estimate=saga(of=gausge))"),
            ("payload", "gradient"),
            ("exchange", "reduce"),
        ],
        notes: "Two losses a row looked at, mu 0.001, l1 0.0001: ours. The paper's b is n^(2/3) (local.batch). of=coosge for \
                tens of parameters. It remembers a gradient a row, at most 1 GiB. rate=auto carries 1/d.",
    },
    Row {
        name: "zo-proxsgd",
        about: "from losses alone: a difference along a random direction, and a soft threshold",
        paper: "RSPGF, the baseline of ZO-ProxSVRG, arXiv 1902.06158",
        choices: &[
            ("optim", "sgd(momentum=0, prox=l1, schedule=constant)"),
            ("local", "descent(estimate=gausge)"),
            ("payload", "gradient"),
            ("exchange", "reduce"),
        ],
        notes: "One direction a mini-batch, mu 0.001, l1 0.0001: ours. estimate=coosge costs 2d losses, for hundreds of \
                parameters. rate=auto carries 1/d.",
    },
    Row {
        name: "zo-proxsvrg",
        about: "from losses alone: mini-batches corrected by what the same rows say at a snapshot, and a soft threshold",
        paper: "ZO-ProxSVRG, arXiv 1902.06158 (AAAI 2019)",
        choices: &[
            ("optim", "sgd(momentum=0, prox=l1, schedule=constant)"),
            ("local", "descent(estimate=svrg(of=gausge))"),
            ("payload", "gradient"),
            ("exchange", "reduce"),
        ],
        notes: "Two losses a row looked at, mu 0.001, l1 0.0001, a snapshot every 10 steps: ours. The paper's b is n^(2/3) \
                (local.batch) and m is n^(1/3) (every). of=coosge for tens of parameters. rate=auto carries 1/d.",
    },
    Row {
        name: "zo-seeded",
        about: "from losses alone, along a direction that everybody draws from the seed: one number travels a step",
        paper: "GauSGE of arXiv 1902.06158 with shared seeds; no paper of its own was read",
        choices: &[
            ("optim", "sgd(momentum=0)"),
            ("local", "descent(estimate=gausge(shared=true))"),
            ("payload", "gradient"),
            ("compress", "span(1)"),
            ("exchange", "reduce"),
        ],
        notes: "Losses are told in one number because all ranks know the direction; directions=q with span(q) takes q. It \
                steps d times shorter than gradients allow, so it is for fine-tuning. rate=auto carries 1/d.",
    },
];
