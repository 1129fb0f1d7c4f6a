"""A worker: one process on one host, one thread. It takes jobs as lines of JSON and answers each with one line.

    python worker.py RANK RANKS ADDRESS PORT FOLDER
"""

import gc
import json
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import methods
from hosts import DEVICE
from networks import Problem, optimizer, scheduler


def counter(which):
    """Bytes that the kernel has seen on this host's link."""
    return int(Path(f"/sys/class/net/{DEVICE}/statistics/{which}_bytes").read_text())


class Worker:
    """One rank. The process group is made anew for every job, so that nothing is left of the one before."""

    def __init__(self, rank, ranks, address, port, folder):
        self.rank, self.ranks, self.folder = rank, ranks, Path(folder)
        self.store = dist.TCPStore(address, port, ranks, rank == 0, timeout=timedelta(seconds=120))
        self.jobs, self.problems = 0, {}
        # Libraries print where they like; answers have a way of their own.
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, **answer):
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def serve(self):
        self.tell(hello=self.rank)
        for line in sys.stdin:
            try:
                self.tell(done=self.do(json.loads(line)))
            except Exception as error:
                traceback.print_exc()
                self.tell(error=f"{type(error).__name__}: {error}")

    def do(self, job):
        self.jobs += 1
        store = dist.PrefixStore(f"job{self.jobs}", self.store)
        dist.init_process_group(
            "gloo", store=store, rank=self.rank, world_size=self.ranks, timeout=timedelta(seconds=300)
        )
        run = None
        try:
            run = Run(self.problem(job["network"]), job)
            if job["purpose"] == "pace":
                # The links are set to their rate only now: setting up is not what is measured.
                for _ in range(2):
                    run.step()
                self.wait()
                return run.pace()
            self.wait()
            return run.reach()
        finally:
            if run is not None:
                run.method.close()
            dist.destroy_process_group()
            # Connections of this job end with the objects that hold them, and some hold one another.
            del run
            gc.collect()

    def wait(self):
        dist.barrier()
        self.tell(ready=True)
        sys.stdin.readline()
        dist.barrier()

    def problem(self, network):
        name = json.dumps(network)
        if name not in self.problems:
            self.problems[name] = Problem(network, self.folder, self.rank, self.ranks)
        return self.problems[name]


class Run:
    """One method on one problem, step by step."""

    def __init__(self, problem, job):
        self.problem, self.job = problem, job
        self.model = problem.model(job["seed"])
        inner = optimizer(job["optimizer"], self.model, job["rate"])
        self.method = methods.build(self.model, inner, job)
        self.scheduler = scheduler(self.method.optimizer, job["steps"], job["warmup"])
        self.batches = problem.batches(job["seed"])
        self.kinds = {}

    def step(self):
        """One step; its kind."""
        self.method.optimizer.zero_grad()
        loss = self.problem.loss(self.method.trained, next(self.batches))
        loss.backward()
        kind = self.method.step()
        self.scheduler.step()
        return kind

    def measure(self):
        """The measure over everybody's rows, at the model agreed on."""
        with self.method.agreed() as model:
            told = torch.tensor(self.problem.evaluate(model), dtype=torch.float64)
        dist.all_reduce(told)
        return float(told[0] / told[1])

    def pace(self):
        """What steps of every kind take and send, on links that are shaped."""
        sent, heard, ledger, seconds = counter("tx"), counter("rx"), self.method.ledger(), 0.0
        for _ in range(self.job["limit"]):
            began, before = time.perf_counter(), counter("tx")
            kind = self.step()
            took = time.perf_counter() - began
            seconds += took
            row = self.kinds.setdefault(kind, {"count": 0, "seconds": 0.0, "sent": 0})
            row["count"] += 1
            row["seconds"] += took
            row["sent"] += counter("tx") - before
        dist.barrier()
        told = self.method.ledger()
        return {
            "kinds": self.kinds,
            "seconds": seconds,
            "sent": counter("tx") - sent,
            "heard": counter("rx") - heard,
            "ledger": None if told is None else told - ledger,
        }

    def reach(self):
        """Steps until the target is met, or until the limit; time spent on evaluations does not count."""
        better = max if self.job["network"]["measure"] == "accuracy" else min
        target, every = self.job["network"]["target"], self.job["network"]["every"]
        curve, seconds, reached = [], 0.0, False
        for step in range(1, self.job["limit"] + 1):
            began = time.perf_counter()
            kind = self.step()
            seconds += time.perf_counter() - began
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if step % every == 0 or step == self.job["steps"]:
                dist.barrier()
                curve.append([step, self.measure(), round(seconds, 3)])
                dist.barrier()
                found = curve[-1][1]
                reached = better(found, target) == found
                if reached or found != found:
                    break
        return {"reached": reached, "kinds": self.kinds, "curve": curve, "seconds": seconds}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    rank, ranks, address, port, folder = sys.argv[1:]
    Worker(int(rank), int(ranks), address, int(port), folder).serve()
