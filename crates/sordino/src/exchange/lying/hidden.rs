//! How far a little is enough: the deviations by which liars may be off and still find company among the honest.

/// The z of Φ(z) = (h − ⌊n/2⌋ − 1 + f)/h for f liars among n voices and h = n − f, between 0 and that of 1 − 1/(2h).
pub fn hidden(voices: usize, liars: usize) -> f64 {
    let honest = (voices - liars.min(voices)) as f64;
    if honest == 0.0 {
        return 0.0;
    }
    let company = (voices / 2 + 1) as f64 - liars as f64;
    quantile(((honest - company) / honest).clamp(0.5, 1.0 - 0.5 / honest))
}

/// The quantile of the standard normal distribution at 0.5 ≤ p < 1: Acklam's rational approximation (relative error
/// 1e-9) and one step of Halley's method.
fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    let at = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let z = if p > 0.975_75 {
        let q = libm::sqrt(-2.0 * libm::log(1.0 - p));
        -at(&C, q) / at(&D, q)
    } else {
        let q = p - 0.5;
        at(&A, q * q) * q / at(&B, q * q)
    };
    let off = 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2) - p;
    let step = off * libm::sqrt(std::f64::consts::TAU) * libm::exp(0.5 * z * z);
    z - step / (1.0 + 0.5 * z * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.75, 0.674_489_750_196_081_7),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_813_5),
        ] {
            assert!((quantile(p) - z).abs() < 1e-12, "{p}: {}", quantile(p));
        }
    }

    #[test]
    fn the_papers_24_of_50_may_be_off_by_1_43_and_too_few_by_nothing() {
        // s = 26 − 24 = 2 of 26: Φ(z) = 24/26.
        assert!((hidden(50, 24) - 1.426).abs() < 1e-3, "{}", hidden(50, 24));
        assert_eq!(hidden(10, 1), 0.0);
        assert!(hidden(4, 4) == 0.0 && (hidden(7, 5) - quantile(0.75)).abs() < 1e-12);
    }
}
