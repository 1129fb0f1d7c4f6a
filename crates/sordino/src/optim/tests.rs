use super::*;
use crate::grammar::Element;

fn optimizer(text: &str, steps: u64) -> Optimizer {
    let mut o = build(&Element::parse(text).unwrap()).unwrap();
    o.anneal.over(Some(steps));
    o
}

fn step(chain: &mut Chain, x: &[f32], g: &[f32], rate: f64) -> Vec<f32> {
    let layout = Layout::vector(g.len());
    let mut update = g.to_vec();
    chain.apply(&At::new(x, g, rate, 0, &layout), &mut update);
    update
}

#[test]
fn the_neutral_optimizer_multiplies_by_the_rate() {
    let mut o = optimizer("sgd(rate=0.5, momentum=0, schedule=constant)", 10);
    assert_eq!(step(&mut o.chain, &[9.0, 9.0], &[3.0, -4.0], o.anneal.rate(0)), [1.5, -2.0]);
    assert_eq!(o.chain.clipped_steps(), 0);
}

#[test]
fn a_celgc_step_is_no_longer_than_gamma_and_gamma_anneals_with_the_rate() {
    let mut o = optimizer("sgd(rate=0.5, momentum=0, clip=1, schedule=constant)", 10);
    let u = step(&mut o.chain, &[0.0, 0.0], &[3.0, -4.0], 0.5);
    assert!((flat::norm(&u) - 1.0).abs() < 1e-6);
    let u = step(&mut o.chain, &[0.0, 0.0], &[3.0, -4.0], 0.05);
    assert!((flat::norm(&u) - 0.1).abs() < 1e-6);
    assert_eq!(step(&mut o.chain, &[0.0, 0.0], &[0.0, 0.0], 0.5), [0.0, 0.0]);
    assert_eq!(o.chain.clipped_steps(), 2);
}

#[test]
fn the_clip_reads_the_raw_gradient_whatever_momentum_and_decay_made_of_it() {
    let mut o = optimizer("sgd(rate=1, momentum=0.9, decay=1, clip=1, schedule=constant)", 10);
    // Raw norm 2 halves the step; the momentum buffer holds g + x = 12.
    assert_eq!(step(&mut o.chain, &[10.0], &[2.0], 1.0), [6.0]);
}

#[test]
fn adam_takes_a_first_step_of_the_rate_and_adamw_decays_beside_it() {
    let mut adam = optimizer("adam(rate=0.1, schedule=constant)", 10);
    let u = step(&mut adam.chain, &[5.0, 5.0], &[3.0, -0.2], 0.1);
    assert!((u[0] - 0.1).abs() < 1e-6 && (u[1] + 0.1).abs() < 1e-6);
    let mut adamw = optimizer("adamw(rate=0.1, decay=0.5, schedule=constant)", 10);
    let u = step(&mut adamw.chain, &[5.0, 0.0], &[3.0, -0.2], 0.1);
    assert!((u[0] - 0.35).abs() < 1e-6 && (u[1] + 0.1).abs() < 1e-6);
}

#[test]
fn outer_nesterov_is_fedmom() {
    // v' = w - D; w' = v' + b (v' - v), with v0 = w0.
    let mut outer = build_outer(&Element::parse("momentum(0.9, nesterov=true)").unwrap()).unwrap();
    let (mut w, mut v, mut x) = (1.0f64, 1.0f64, 1.0f32);
    for d in [0.3f32, -0.1, 0.25, 0.7] {
        let next = w - f64::from(d);
        w = next + 0.9 * (next - v);
        v = next;
        x -= step(&mut outer, &[x], &[d], 0.1)[0];
        assert!((f64::from(x) - w).abs() < 1e-6);
    }
}

#[test]
fn slowmo_keeps_its_buffer_in_gradient_units() {
    let mut outer = build_outer(&Element::parse("momentum(0.5, per_rate=true)").unwrap()).unwrap();
    assert_eq!(step(&mut outer, &[0.0], &[1.0], 0.5), [1.0]); // u = 2
    assert_eq!(step(&mut outer, &[0.0], &[0.25], 0.25), [0.5]); // u = 0.5·2 + 1 = 2
}

#[test]
fn curves_warm_up_from_the_floor_and_end_there() {
    let o = optimizer("sgd(rate=1, momentum=0, schedule=cosine(warmup=10, floor=0.1))", 110);
    assert_eq!((o.anneal.rate(0), o.anneal.rate(10)), (0.1, 1.0));
    assert!((o.anneal.rate(60) - 0.55).abs() < 1e-12);
    assert!((o.anneal.rate(110) - 0.1).abs() < 1e-12);
    let o = optimizer("sgd(rate=1, momentum=0, schedule=linear(warmup=0.1))", 100);
    assert!((o.anneal.rate(55) - 0.5).abs() < 1e-5);
    let o = optimizer("sgd(rate=1, momentum=0, schedule=step(0.1, at=0.5, then=75))", 100);
    assert_eq!((o.anneal.rate(49), o.anneal.rate(50)), (1.0, 0.1));
    assert!((o.anneal.rate(75) - 0.01).abs() < 1e-15);
}

#[test]
fn a_chain_saved_and_loaded_goes_on_bit_for_bit() {
    let layout = Layout::vector(2);
    for text in [
        "sgd(rate=0.1, momentum=0.9, nesterov=true, schedule=constant)",
        "adamw(rate=0.1, schedule=constant)",
        "lars(rate=0.1, schedule=constant)",
        "lamb(rate=0.1, schedule=constant)",
        "mixclip(rate=0.1, schedule=constant)",
    ] {
        let (mut a, mut b) = (optimizer(text, 9).chain, optimizer(text, 9).chain);
        step(&mut a, &[1.0, 2.0], &[0.3, -0.7], 0.1);
        let mut state = State::default();
        a.save(&mut state);
        b.load(&state, &layout).unwrap();
        assert_eq!(step(&mut a, &[1.0, 2.0], &[0.1, 0.2], 0.1), step(&mut b, &[1.0, 2.0], &[0.1, 0.2], 0.1));
    }
}
