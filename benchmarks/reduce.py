"""The engine's all-reduce through a session beside the bare call, in turns: what `exchange=reduce(engine)` costs over Gloo.

    python benchmarks/reduce.py [--ranks 2]

Every time is from a barrier until a rank is done, on average over the ranks; printed are medians of 100 pairs, and of the ratios of pairs.
The bare call is one of the same process group, since Gloo's groups differ, and both divide by the number of ranks.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

PAIRS, LENGTHS = 100, (100_000, 1_000_000, 10_000_000)


def rank(at, ranks):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29420", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=at, world_size=ranks)
    import sordino
    from sordino.torch.fabric import Fabric

    recipe = sordino.Recipe("sync-sgd", exchange="reduce(engine)", payload="gradient")
    for length in LENGTHS:
        fabric = Fabric()
        session = sordino.Session(recipe, [("x", (length,))], np.zeros(length, np.float32), fabric)
        given = np.arange(length, dtype=np.float32) % 1000
        gradient = torch.from_numpy(given.copy())
        tensor = torch.empty_like(gradient)

        def ours():
            session.close_after(1)

        def bare():
            dist.all_reduce(tensor, group=fabric.group)
            tensor.div_(ranks)

        def prepare():
            """Both find a vector that was written just now, as a backward pass leaves it."""
            session.begin()
            session.pace(0.1)
            session.set_offer(given)

        def prepare_bare():
            tensor.copy_(gradient)

        took = {ours: [], bare: []}
        for pair in range(PAIRS + 2):
            for way in (ours, bare) if pair % 2 else (bare, ours):
                prepare() if way is ours else prepare_bare()
                dist.barrier()
                began = time.perf_counter()
                way()
                own = torch.tensor([time.perf_counter() - began])
                dist.all_reduce(own)
                if pair >= 2:
                    took[way].append(own.item() / ranks)
        if at == 0:
            one, other = (1e3 * statistics.median(took[way]) for way in (bare, ours))
            pairs = statistics.median(a / b for a, b in zip(took[ours], took[bare]))
            told = f"ratio {other / one:.3f}, of pairs {pairs:.3f}"
            print(f"{length:>10} entries: bare {one:8.3f} ms, reduce(engine) {other:8.3f} ms, {told}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ranks", type=int, default=2)
    ranks = options.parse_args().ranks
    processes.spawn(rank, (ranks,), ranks)
