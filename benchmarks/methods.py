"""The methods, theirs and ours, each around the same module, optimizer and loop.

A method makes a step and says of what kind it was: `sync` (everything travels), `meet` (what the method is about
travels), `local` (nothing does). What a step of a kind costs is measured on shaped links, how many there are until the
target is counted in unshaped runs.
"""

from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["build"]


class Alone:
    """Nobody talks: what the computing costs. No method, but the floor under all of them."""

    def __init__(self, model, optimizer, *_):
        self.model = self.trained = model
        self.optimizer = optimizer

    def step(self):
        self.optimizer.step()
        return "local"

    @contextmanager
    def agreed(self):
        """Inside, the module is the model that the ranks would keep."""
        yield self.model

    def ledger(self):
        """Bytes that the method says this rank has sent; none where it does not say."""
        return None


class Parallel(Alone):
    """DistributedDataParallel over Gloo, with one of the hooks that PyTorch documents."""

    def __init__(self, model, optimizer, job):
        super().__init__(model, optimizer)
        self.trained = nn.parallel.DistributedDataParallel(model)
        self.made, self.early = 0, job["early"]
        hook = job["method"].get("hook")
        if hook == "fp16":
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

            self.trained.register_comm_hook(None, fp16_compress_hook)
        elif hook == "powersgd":
            from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook

            # The defaults, but for when it starts: they are for long runs, the documentation asks for a tenth of a run.
            state = PowerSGDState(None, matrix_approximation_rank=job["period"], start_powerSGD_iter=self.early)
            self.trained.register_comm_hook(state, powerSGD_hook)

    def step(self):
        self.optimizer.step()
        self.made += 1
        return "sync" if self.made <= self.early else "meet"


class PostLocal(Parallel):
    """PyTorch's PostLocalSGD: gradients are averaged for a while, then parameters periodically."""

    def __init__(self, model, optimizer, job):
        from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
        from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
        from torch.distributed.optim import PostLocalSGDOptimizer

        super().__init__(model, optimizer, job)
        # One worker is a host: there is nobody to average gradients with inside it.
        state = PostLocalSGDState(None, None, self.early, post_local_gradient_allreduce=False)
        self.trained.register_comm_hook(state, post_localSGD_hook)
        self.period = job["period"]
        averager = PeriodicModelAverager(period=self.period, warmup_steps=self.early)
        self.optimizer = PostLocalSGDOptimizer(optim=optimizer, averager=averager)

    def step(self):
        self.optimizer.step()
        self.made += 1
        past = self.made - 1 - self.early
        # The averager's first meeting follows the first local step.
        return "sync" if past < 0 else ("meet" if past % self.period == 0 else "local")

    @contextmanager
    def agreed(self):
        kept = [p.detach().clone() for p in self.model.parameters()]
        with torch.no_grad():
            for p in self.model.parameters():
                dist.all_reduce(p)
                p.div_(dist.get_world_size())
            yield self.model
            for p, value in zip(self.model.parameters(), kept):
                p.copy_(value)


class Ours(Alone):
    """A row of Sordino around the optimizer."""

    def __init__(self, model, optimizer, job):
        import sordino

        method = job["method"]
        axes = dict(method.get("axes", {}))
        if "period" in method:
            axes[method["period"]] = job["period"]
        clip = job["network"].get("clip") if method.get("clip") else None
        wrapped = sordino.wrap(
            optimizer, method["row"], model=model, steps=job["steps"], seed=job["seed"], warmup=job["warmup"], clip=clip, **axes
        )
        super().__init__(model, wrapped)
        self.averaged = sordino.averaged

    def step(self):
        before = self.optimizer.session.rounds
        self.optimizer.step()
        return "meet" if self.optimizer.session.rounds > before else "local"

    @contextmanager
    def agreed(self):
        with self.averaged(self.optimizer):
            yield self.model

    def ledger(self):
        return self.optimizer.session.bytes_sent


FAMILIES = {"alone": Alone, "parallel": Parallel, "post-local": PostLocal, "sordino": Ours}


def build(model, optimizer, job):
    """The method that a job names."""
    return FAMILIES[job["method"]["family"]](model, optimizer, job)
