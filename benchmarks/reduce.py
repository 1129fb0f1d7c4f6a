"""The engine's all-reduce through a session beside the bare call, in turns: what `exchange=reduce(engine)` costs over Gloo.

    python benchmarks/reduce.py [--ranks 2]

Every time is from a barrier until the last rank is done; printed are medians of 30 pairs, and of the ratios of pairs.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

PAIRS, LENGTHS = 30, (100_000, 1_000_000, 10_000_000)


def rank(at, ranks):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29420", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=at, world_size=ranks)
    import sordino
    from sordino.torch.fabric import Fabric

    recipe = sordino.Recipe("sync-sgd", exchange="reduce(engine)", payload="gradient")
    for length in LENGTHS:
        session = sordino.Session(recipe, [("x", (length,))], np.zeros(length, np.float32), Fabric())
        given = np.arange(length, dtype=np.float32) % 1000
        tensor = torch.from_numpy(given.copy())

        def prepare():
            session.begin()
            session.pace(0.1)
            session.set_offer(given)

        def ours():
            session.close_after(1)

        def bare():
            dist.all_reduce(tensor)
            tensor.div_(ranks)

        took = {ours: [], bare: []}
        for pair in range(PAIRS + 2):
            for way in (ours, bare) if pair % 2 else (bare, ours):
                if way is ours:
                    prepare()
                dist.barrier()
                began = time.perf_counter()
                way()
                slowest = torch.tensor([time.perf_counter() - began])
                dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
                if pair >= 2:
                    took[way].append(slowest.item())
        if at == 0:
            one, other = (1e3 * statistics.median(took[way]) for way in (bare, ours))
            ratio = statistics.median(a / b for a, b in zip(took[ours], took[bare]))
            print(f"{length:>10} entries: bare {one:8.3f} ms, reduce(engine) {other:8.3f} ms, ratio {ratio:.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ranks", type=int, default=2)
    ranks = options.parse_args().ranks
    processes.spawn(rank, (ranks,), ranks)
