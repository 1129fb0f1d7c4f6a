"""Compares epsilons with those of Google's dp-accounting, to 1e-3.

Reads lines `rate multiplier steps delta epsilon` (what the example `accounting` prints) on stdin, prints both
numbers of each, and exits with 1 if any two are further apart. Lines that begin with # are passed over.
"""

import sys

import dp_accounting
from absl import logging
from dp_accounting import rdp

TOLERANCE = 1e-3
FEWEST = 40


def reference(rate: float, multiplier: float, steps: int, delta: float) -> tuple[float, float]:
    """Epsilon, and the order that gives it."""
    accountant = rdp.RdpAccountant()
    release = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(multiplier))
    accountant.compose(dp_accounting.SelfComposedDpEvent(release, steps))
    return accountant.get_epsilon_and_optimal_order(delta)


def main() -> int:
    # It warns of every order whose series does not settle; ours gives the same ones up.
    logging.set_verbosity(logging.ERROR)
    lines = [line.split() for line in sys.stdin if line.strip() and not line.startswith("#")]
    worst, far = 0.0, 0
    print(f"{'rate':>10} {'multiplier':>10} {'steps':>8} {'delta':>8} {'epsilon':>12} {'reference':>12} {'order':>6}")
    for rate, multiplier, steps, delta, epsilon in lines:
        theirs, order = reference(float(rate), float(multiplier), int(steps), float(delta))
        gap = abs(float(epsilon) - theirs)
        # Written so that a gap which is not a number is far.
        mark = "" if gap <= TOLERANCE else "  FAR"
        far += bool(mark)
        worst = max(worst, gap)
        print(
            f"{float(rate):>10.6g} {float(multiplier):>10.6g} {steps:>8} {float(delta):>8.1e} "
            f"{float(epsilon):>12.6f} {theirs:>12.6f} {order:>6g}{mark}"
        )
    print(f"{len(lines)} cases, largest difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    if len(lines) < FEWEST:
        print(f"at least {FEWEST} cases were expected")
        return 1
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
