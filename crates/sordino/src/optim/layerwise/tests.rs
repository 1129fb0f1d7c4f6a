use super::*;
use crate::base::{Aside, Stream, Tensor, Use};
use crate::grammar::Element;

const W: std::ops::Range<usize> = 0..12;
const BIAS: std::ops::Range<usize> = 12..15;
const V: std::ops::Range<usize> = 15..20;

fn layout() -> Layout {
    let tensor = |name: &str, len, role| Tensor::new(name, &[len], role);
    Layout::new([tensor("w", 12, Role::Weight), tensor("b", 3, Role::Bias), tensor("v", 5, Role::Weight)])
}

fn draw(what: u64) -> Vec<f32> {
    let mut stream = Stream::new(4, Use::Problem, what, 0);
    (0..20).map(|_| stream.normal()).collect()
}

fn chain(text: &str) -> Chain {
    crate::optim::build(&Element::parse(text).unwrap()).unwrap().chain
}

fn step(chain: &mut Chain, x: &[f32], g: &[f32], means: Option<[f32; 3]>, rate: f64) -> Vec<f32> {
    let (layout, mut update) = (layout(), g.to_vec());
    let asides: Vec<Aside> = means.iter().map(|m| Aside { name: MICRO_NORMS, values: m.to_vec() }).collect();
    chain.apply(&At::new(x, g, rate, 0, &layout).beside(&asides), &mut update);
    update
}

fn times(x: &[f32], c: f32) -> Vec<f32> {
    x.iter().map(|v| c * v).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 2e-6 * a.abs().max(b.abs())
}

#[test]
fn a_step_of_lars_is_as_long_as_rate_times_trust_times_the_tensor() {
    let (x, g) = (draw(0), draw(1));
    for loss in [1.0, 1e3, 1e-1] {
        let mut lars = chain("lars(rate=1, momentum=0, trust=0.01, eps=1e-12, schedule=constant)");
        let u = step(&mut lars, &x, &times(&g, loss), None, 0.5);
        for tensor in [W, V] {
            assert!(close(flat::norm(&u[tensor.clone()]), 0.005 * flat::norm(&x[tensor])), "at loss times {loss}");
        }
        assert_eq!(u[BIAS], times(&g[BIAS], 0.5 * loss), "a bias takes the step of plain descent");
    }
}

#[test]
fn clars_is_lars_times_how_far_micro_batches_agree() {
    let (x, parts) = (draw(0), [draw(1), draw(2), draw(3), draw(4)]);
    let g: Vec<f32> = (0..20).map(|i| parts.iter().map(|p| p[i]).sum::<f32>() / 4.0).collect();
    let mean = |r: &std::ops::Range<usize>| parts.iter().map(|p| flat::norm(&p[r.clone()])).sum::<f64>() / 4.0;
    let means = [W, BIAS, V].map(|r| mean(&r) as f32);
    let keys = "rate=1, momentum=0, trust=0.01, eps=1e-12, schedule=constant";
    let clars = step(&mut chain(&format!("clars({keys})")), &x, &g, Some(means), 1.0);
    let lars = step(&mut chain(&format!("lars({keys})")), &x, &g, None, 1.0);
    for tensor in [W, V] {
        let rho = flat::norm(&g[tensor.clone()]) / mean(&tensor);
        assert!(rho < 0.9, "the parts disagree");
        let (short, long) = (flat::norm(&clars[tensor.clone()]), flat::norm(&lars[tensor]));
        assert!(close(short, rho * long) && short <= long);
    }
    let agreed = [W, BIAS, V].map(|r| flat::norm(&g[r]) as f32);
    let parallel = step(&mut chain(&format!("clars({keys})")), &x, &g, Some(agreed), 1.0);
    assert!(parallel.iter().zip(&lars).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "parallel parts: LARS");
    assert_eq!(step(&mut chain(&format!("clars({keys})")), &x, &g, None, 1.0), lars, "no norms came: LARS");
}

#[test]
fn the_cap_is_on_clars_alone() {
    let (x, g) = (draw(0), times(&draw(1), 1e-3));
    let means = [W, BIAS, V].map(|r| flat::norm(&g[r]) as f32);
    let keys = "rate=1, momentum=0, trust=1, schedule=constant";
    let capped = step(&mut chain(&format!("clars({keys})")), &x, &g, Some(means), 1.0);
    assert!(close(flat::norm(&capped[W]), 0.1 * flat::norm(&g[W])));
    let free = step(&mut chain(&format!("lars({keys})")), &x, &g, None, 1.0);
    assert!(flat::norm(&free[W]) > 100.0 * flat::norm(&g[W]));
}

#[test]
fn nothing_to_measure_by_is_a_scale_of_one() {
    let (zero, g) = (vec![0.0; 20], draw(1));
    let lars = "lars(rate=1, momentum=0, schedule=constant)";
    assert_eq!(step(&mut chain(lars), &zero, &g, None, 1.0), g);
    assert_eq!(step(&mut chain(lars), &g, &zero, None, 1.0), zero);
    let clars = "clars(rate=1, momentum=0, cap=9, eps=1e-12, schedule=constant)";
    let u = step(&mut chain(clars), &zero, &g, Some([2.0, 2.0, 8.0]), 1.0);
    assert!(close(flat::norm(&u[V]), flat::norm(&g[V]).powi(2) / 8.0), "CLARS goes on from LARS's one");
    let lamb = step(&mut chain("lamb(rate=1, eps=1e-12, schedule=constant)"), &zero, &g, None, 1.0);
    assert!(close(flat::norm(&lamb[W]), 12f64.sqrt()), "Adam's own first step");
}

#[test]
fn the_present_scale_multiplies_the_momentum_and_is_not_in_it() {
    let (x, one, two) = (draw(0), draw(1), times(&draw(2), 10.0));
    let mut lars = chain("lars(rate=1, momentum=0.5, trust=0.01, decay=0.1, schedule=constant)");
    let decayed = |g: &[f32]| g.iter().zip(&x).map(|(g, x)| g + 0.1 * x).collect::<Vec<f32>>();
    let scale = |g: &[f32]| 0.01 * flat::norm(&x[W]) / flat::norm(&decayed(g)[W]);
    step(&mut lars, &x, &one, None, 1.0);
    let u = step(&mut lars, &x, &two, None, 1.0);
    let (first, second) = (decayed(&one), decayed(&two));
    let (mut outside, mut inside) = (0.0f64, 0.0f64);
    for i in W {
        let (a, b, u) = (f64::from(first[i]), f64::from(second[i]), f64::from(u[i]));
        outside = outside.max((u - scale(&two) * (0.5 * a + b)).abs());
        inside = inside.max((u - (0.5 * scale(&one) * a + scale(&two) * b)).abs());
    }
    assert!(outside < 1e-7, "{outside:e} from the scale outside");
    assert!(inside > 1e-2, "with the scale inside it is another optimizer, {inside:e} away");
    assert!((u[12] - (0.5 * first[12] + second[12])).abs() < 1e-5, "a bias is decayed, not scaled");
}

#[test]
fn a_step_of_lamb_is_as_long_as_rate_times_the_tensor() {
    for length in [1.0f32, 40.0] {
        let x = times(&draw(0), length);
        let mut lamb = chain("lamb(rate=0.02, schedule=constant)");
        for i in 1..6 {
            let g = draw(i);
            let u = step(&mut lamb, &x, &g, None, 0.02);
            for tensor in [W, V] {
                assert!(close(flat::norm(&u[tensor.clone()]), 0.02 * flat::norm(&x[tensor]).min(10.0)));
            }
        }
    }
}

#[test]
fn lamb_does_not_see_the_scale_of_the_loss_and_leaves_biases_to_adam() {
    let (x, g) = (draw(0), draw(1));
    let make = || chain("lamb(rate=1, eps=1e-12, decay=0.3, schedule=constant)");
    let (small, large) = (step(&mut make(), &x, &g, None, 0.1), step(&mut make(), &x, &times(&g, 1e4), None, 0.1));
    assert!(small.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-6));
    let adam = step(&mut chain("adam(rate=1, eps=1e-12, schedule=constant)"), &x, &g, None, 0.1);
    assert_eq!(small[BIAS], adam[BIAS]);
    let undecayed = step(&mut chain("lamb(rate=1, eps=1e-12, decay=0, schedule=constant)"), &x, &g, None, 0.1);
    assert_ne!(small[W], undecayed[W]);
}

#[test]
fn only_clars_asks_for_norms_of_micro_batches() {
    assert_eq!(chain("clars(rate=1, schedule=constant)").needs(), Some(MICRO_NORMS));
    assert_eq!(chain("lars(rate=1, schedule=constant)").needs(), None);
    assert_eq!(chain("lamb(rate=1, schedule=constant)").needs(), None);
}
