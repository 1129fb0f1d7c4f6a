"""The engine's all-reduce through a session beside the bare call, in turns: what `exchange=reduce(engine)` costs over Gloo.

    python benchmarks/reduce.py [--ranks 2]

Every time is from a barrier until a rank is done, on average over the ranks; printed are medians of many pairs. The bare call
is one of the same process group, since Gloo's groups differ, and both divide by the number of ranks. In brackets: the
session's time before the call, in it and after it, and the bare call and its division.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

LENGTHS = {100_000: 1000, 1_000_000: 600, 10_000_000: 100}
"""Entries, and how many pairs are timed."""


def rank(at, ranks):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29420", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=at, world_size=ranks)
    import sordino
    from sordino.torch.fabric import Fabric

    class Timed(Fabric):
        def all_reduce(self, x):
            self.called = time.perf_counter()
            super().all_reduce(x)
            self.left = time.perf_counter()

    recipe = sordino.Recipe("sync-sgd", exchange="reduce(engine)", payload="gradient")
    for length, pairs in LENGTHS.items():
        fabric = Timed()
        session = sordino.Session(recipe, [("x", (length,))], np.zeros(length, np.float32), fabric)
        given = np.arange(length, dtype=np.float32) % 1000
        gradient = torch.from_numpy(given.copy())
        tensor = torch.empty_like(gradient)

        def prepare(way):
            """Both find a vector that was written just now, as a backward pass leaves it."""
            if way == "ours":
                session.begin()
                session.pace(0.1)
                session.set_offer(given)
            else:
                tensor.copy_(gradient)
            dist.barrier()

        def ours():
            began = time.perf_counter()
            session.close_after(1)
            return fabric.called - began, fabric.left - fabric.called, time.perf_counter() - fabric.left

        def bare():
            began = time.perf_counter()
            dist.all_reduce(tensor, group=fabric.group)
            added = time.perf_counter()
            tensor.div_(ranks)
            return added - began, time.perf_counter() - added

        took = {"ours": [], "bare": []}
        for pair in range(pairs + 2):
            for way in took if pair % 2 else reversed(took):
                prepare(way)
                parts = torch.tensor(ours() if way == "ours" else bare(), dtype=torch.float64)
                dist.all_reduce(parts)
                if pair >= 2:
                    took[way].append((1e3 * parts / ranks).tolist())
        if at == 0:
            whole = {way: statistics.median(map(sum, rows)) for way, rows in took.items()}
            parts = {way: " + ".join(f"{statistics.median(part):.3f}" for part in zip(*rows)) for way, rows in took.items()}
            told = [f"{way} {whole[way]:.3f} ms ({parts[way]})" for way in reversed(took)]
            print(f"{length:>10} entries: {', '.join(told)}, ratio {whole['ours'] / whole['bare']:.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ranks", type=int, default=2)
    ranks = options.parse_args().ranks
    processes.spawn(rank, (ranks,), ranks)
