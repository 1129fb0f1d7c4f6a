"""How much of an exchange hides behind computing: hosts with shaped links, the LSTM of the plan, `staleness=delayed`.

    sudo python3 benchmarks/overlap.py [--link 10mbit] [--rounds 6] [--python P]

Every host makes rounds of the same length three ways: without meeting anybody, meeting between rounds, and meeting while
the next round has begun. What the second takes longer than the first is the exchange; what the third does not is hidden.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hosts import Hosts
from plan import read

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "target" / "sordino-python" / "python" / "bin" / "python"
WORKERS, EVERY, LATE = 4, 96, 88

CASES = {
    "half, gather": {"compress": "half", "exchange": "gather"},
    "dense, reduce": {"compress": "dense", "exchange": "reduce"},
    "orq(5), two_phase": {"compress": "orq(5)", "exchange": "two_phase"},
}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--link", default="10mbit", help="the rate of every link, as `tc` writes it")
    options.add_argument("--rounds", type=int, default=6, help="rounds that are timed, of 96 steps")
    options.add_argument("--python", type=Path, default=PYTHON, help="an interpreter with torch and sordino")
    options = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("this makes network namespaces, which only root may: run it with sudo, or in a container as root")
    print(f"LSTM, {WORKERS} hosts at {options.link}, rounds of {EVERY} steps, {LATE} of which words may be late")
    print(f"{'':20} {'compute':>9} {'prompt':>9} {'late':>9}  hidden   (seconds of a round, medians)")
    with Hosts(WORKERS) as hosts:
        hosts.shape(options.link)
        for number, case in enumerate(CASES):
            told = ranks(hosts, options.python, case, options.rounds, 29410 + number)
            compute, prompt, late = (statistics.fmean(rank[way] for rank in told) for way in ("compute", "prompt", "late"))
            hidden = (prompt - late) / (prompt - compute)
            print(f"{case:20} {compute:9.3f} {prompt:9.3f} {late:9.3f}  {hidden:6.1%}", flush=True)


def ranks(hosts, python, case, rounds, port):
    """What every rank measured. A port of its own: whoever came to the store of the case before, which is on its way out, would
    wait there for ever."""
    shared = hosts.variables(port)
    words = [str(python), __file__, "--rounds", str(rounds)]
    started = [
        subprocess.Popen(
            hosts.command(rank, words), env={**shared, "RANK": str(rank), "CASE": case}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(hosts.count)
    ]
    told = [rank.communicate(timeout=600)[0] for rank in started]
    if any(rank.returncode for rank in started):
        sys.exit(f"{case}: a rank failed")
    return [json.loads(text.splitlines()[-1]) for text in told]


def work(rounds):
    """One rank: seconds of a round, three ways."""
    import numpy as np
    import torch
    import torch.distributed as dist

    import sordino
    from networks import Problem
    from sordino.torch.fabric import Fabric

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, network = dist.get_rank(), read().networks["lstm"]
    problem = Problem(network, ROOT / "target" / "benchmarks" / "data", rank, WORKERS)
    model = problem.model(0)
    parameters = list(model.parameters())
    tensors = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    flat = lambda of: torch.cat([x.detach().reshape(-1) for x in of]).numpy()  # noqa: E731

    def rounds_of(port, **axes):
        recipe = sordino.Recipe(
            "local-sgd", optim="sgd(rate=0.5, momentum=0.9)", schedule=f"constant({EVERY})", payload="displacement", **axes
        )
        steps = (rounds + 2) * EVERY
        session = sordino.Session(recipe, tensors, flat(parameters), port, steps=steps, own_optimizer=True)
        batches = problem.batches(0)

        def gradient(x, step, client, out):
            torch.nn.utils.vector_to_parameters(torch.from_numpy(np.array(x)), parameters)
            model.zero_grad()
            loss = problem.loss(model, next(batches))
            loss.backward()
            out[:] = flat([p.grad for p in parameters])
            return loss.item()

        took = []
        for _ in range(rounds + 1):
            dist.barrier()
            began = time.perf_counter()
            session.round(gradient)
            took.append(time.perf_counter() - began)
        # The first round has nothing made ahead, and starts things up.
        return statistics.median(took[1:])

    axes = CASES[os.environ["CASE"]]
    told = {"compute": rounds_of(None, **axes), "prompt": rounds_of(Fabric(), **axes)}
    told["late"] = rounds_of(Fabric(), staleness=f"delayed({LATE})", **axes)
    print(json.dumps(told), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    if "CASE" in os.environ:
        asked = argparse.ArgumentParser()
        asked.add_argument("--rounds", type=int)
        work(asked.parse_args().rounds)
    else:
        main()
