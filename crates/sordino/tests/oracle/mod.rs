//! Naive references of the named rows, one file a row, written straight from the papers: `f64`, plain vectors, loops
//! over workers, and none of the library's code. A row of the library and its file here must draw the same trajectory.
//! `queues` alone is in `f32`, and is compared to the last bit.
//!
//! Conventions shared by every file. Steps and rounds count from 0; `rate(t)` is the learning rate of step `t`; a
//! trajectory is the agreed model at the start and after every round. Momentum is `PyTorch`'s (`m = μ m + g`,
//! `x -= η m`), weight decay joins the gradient before momentum (SGD) or shrinks the model on its own (AdamW), means run
//! over workers in rank order and divide once.

// A test binary that compares one family of rows leaves the other files unused.
#![allow(dead_code)]
// The loops keep the papers' indices.
#![allow(clippy::needless_range_loop)]

pub mod problem;

pub mod arrivals;
pub mod chain;
pub mod clients;
pub mod compress;
pub mod cut;
pub mod differences;
pub mod dual;
pub mod inner;
pub mod layers;
pub mod prox;
pub mod quantized;
pub mod queues;
pub mod rdp;
pub mod robust;
pub mod vectors;

pub mod acpd;
pub mod async_sgd;
pub mod bingrad_b;
pub mod bingrad_pb;
pub mod celgc;
pub mod clars;
pub mod clip21;
pub mod clip21_sgd2m;
pub mod clip_gd;
pub mod cocoa;
pub mod cocoa_plus;
pub mod def;
pub mod delay_adaptive_sgd;
pub mod delayed;
pub mod diloco;
pub mod dp_clip21;
pub mod dp_fedavg;
pub mod dp_sgd;
pub mod dsp;
pub mod ef21;
pub mod ef_sgd;
pub mod fedadam;
pub mod fedavg;
pub mod fedbuff;
pub mod fedmom;
pub mod fedprox;
pub mod fedyogi;
pub mod gpipe;
pub mod lamb;
pub mod lars;
pub mod local_sgd;
pub mod mixed_clip;
pub mod orq;
pub mod ouroboros;
pub mod parallel_clip;
pub mod picky_sgd;
pub mod pipeline_sync;
pub mod post_local_sgd;
pub mod powersgd;
pub mod press_clip21;
pub mod qsgd;
pub mod qsr;
pub mod saef;
pub mod scaffold;
pub mod slowmo;
pub mod sync_sgd;
pub mod terngrad;
pub mod zo_proxsaga;
pub mod zo_proxsgd;
pub mod zo_proxsvrg;
pub mod zo_seeded;
