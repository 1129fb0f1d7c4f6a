"""What wrapping costs a process that is alone: pairs of loops, wrapped and not, one after the other.

    python benchmarks/overhead.py            30 pairs on the CNN and on the LSTM, one thread; the median of the ratios

Needs torch, sordino and the data that run.py has fetched.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

import sordino
from networks import Problem, optimizer
from plan import read

PAIRS, STEPS = 30, 20


def loop(problem, model, opt, batches, steps):
    """Seconds of so many steps."""
    began = time.perf_counter()
    for _ in range(steps):
        opt.zero_grad()
        problem.loss(model, next(batches)).backward()
        opt.step()
    return time.perf_counter() - began


def ratios(name, pairs, steps):
    """Seconds wrapped over seconds bare, for every pair; each goes first in every other one."""
    network = read().networks[name]
    problem = Problem(network, Path(__file__).parents[1] / "target" / "benchmarks" / "data", 0, 4)
    runs = []
    for wrapped in (False, True):
        model = problem.model(0)
        opt = optimizer(network["optimizer"], model, network["rates"][network["optimizer"]][0])
        runs.append((model, sordino.wrap(opt, "qsr", model=model) if wrapped else opt, problem.batches(0)))
    for run in runs:
        loop(problem, *run, 5)
    found = []
    for pair in range(pairs):
        took = {}
        for at in (pair % 2, 1 - pair % 2):
            took[at] = loop(problem, *runs[at], steps)
        found.append(took[1] / took[0])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["cnn", "lstm"]:
        found = sorted(ratios(name, PAIRS, STEPS))
        low, high = found[len(found) // 4], found[-1 - len(found) // 4]
        print(f"{name}: median {statistics.median(found):.3f}, middle half {low:.3f} to {high:.3f}")
