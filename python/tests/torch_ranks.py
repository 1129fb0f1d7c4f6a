"""Four processes over Gloo that run what tests give them: started once, because importing torch takes seconds."""

import atexit
import multiprocessing
import os
import queue
import tempfile
import traceback
from datetime import timedelta

import pytest

_POOLS = []


def _serve(rank, size, store, tasks, results):
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=limit)
    groups = {n: dist.new_group(list(range(n)), timeout=limit) for n in range(2, size + 1)}
    while True:
        task = tasks.get()
        if task is None:
            break
        work, ranks, args, kwargs = task
        try:
            torch.manual_seed(rank)
            results.put((rank, True, work(groups[ranks], *args, **kwargs)))
        except BaseException:
            results.put((rank, False, traceback.format_exc()))
    # A group that a test has broken may be waited for in vain.
    os._exit(0)


class Ranks:
    """Processes that wait for work."""

    def __init__(self, size=4):
        # Torch is imported once, by the server that the processes are forked from.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "torch.distributed"])
        self.results = context.Queue()
        self.tasks = [context.Queue() for _ in range(size)]
        store = os.path.join(tempfile.mkdtemp(), "store")
        make = lambda rank: context.Process(  # noqa: E731
            target=_serve, args=(rank, size, store, self.tasks[rank], self.results), daemon=True
        )
        self.processes = [make(rank) for rank in range(size)]
        for process in self.processes:
            process.start()

    def run(self, work, *args, ranks=4, **kwargs):
        """What `work(group, ...)` returns on each of the first so many ranks."""
        for tasks in self.tasks[:ranks]:
            tasks.put((work, ranks, args, kwargs))
        found, failed = {}, []
        while len(found) + len(failed) < ranks:
            try:
                rank, well, result = self.results.get(timeout=240)
            except queue.Empty:
                failed.append("nothing came for four minutes")
                break
            if well:
                found[rank] = result
            else:
                failed.append(f"rank {rank}:\n{result}")
        if failed:
            self.end()
            raise AssertionError("\n".join(failed))
        return [found[rank] for rank in range(ranks)]

    def end(self):
        for tasks in self.tasks:
            tasks.put(None)
        for process in self.processes:
            process.join(timeout=2)
            if process.is_alive():
                process.kill()
        if self in _POOLS:
            _POOLS.remove(self)


@pytest.fixture
def four():
    """The processes: the same ones for all tests, new ones after a failure."""
    if not _POOLS:
        _POOLS.append(Ranks())
        atexit.register(lambda: [pool.end() for pool in list(_POOLS)])
    return _POOLS[0]
