"""The fabric over ``torch.distributed``: what an engine's port is on top of a process group.

A word is a row of bytes. Where the group talks over Gloo and its ranks can connect, it travels on sockets of our own
(:mod:`.mesh`). Else it travels as uint8 tensors: first a head of fixed length with the word's length and as much of it
as fits, then the rest, if there is any. Sends never wait for the receiver, so all ranks may send to all before anybody
listens; what was sent is kept until it has left.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from .mesh import Mesh

__all__ = ["Fabric", "alone"]

HEAD = 256
"""Bytes of the first tensor of a word, eight of them its length."""

UNSENT = 64
"""How many words to one peer may be on their way; no protocol here has more than a few before it listens."""


TAG_BITS = 16
"""Words of one fabric on one link are told apart by this many bits of a tag; the bits above tell fabrics apart."""

_LINGERING: list = []
"""Words that had not left when their fabric was let go."""

_FABRICS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _tags_of(group) -> int:
    """Where the tags of the next fabric of a group begin, far from those that people choose."""
    made = _FABRICS.get(group, 0)
    _FABRICS[group] = made + 1
    return (1 << 30) + (made % (1 << (30 - TAG_BITS)) << TAG_BITS)


def alone(group=None) -> bool:
    """Whether there is nobody to talk to: no process group, or one of a single rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return True
    return dist.get_world_size(group) == 1


class Fabric:
    """A port for :class:`sordino.Session` over a process group.

    ``group`` is the process group to talk in (none: all ranks), ``timeout`` how many seconds to wait for a word (none:
    the group's own time). Its words never mix with what the caller sends: among all ranks the fabric makes a process group
    of its own, in a group of the caller's it takes tags of its own. Every rank of ``group`` must make its fabric at the
    same place of the program.

    Gloo carries words in the memory of the host. NCCL carries them as uint8 tensors on the current CUDA device, with a
    communicator for every ordered pair of ranks, because words that cross on one communicator wait for one another;
    ``backend="gloo"`` spares these where the hosts also share a plain network.
    """

    def __init__(self, group=None, timeout: float | None = None, backend: str | None = None):
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "sordino.torch.Fabric: torch.distributed has no process group; call torch.distributed.init_process_group "
                "first, or leave the port out to work alone"
            )
        self.timeout = timeout
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.backend = backend or str(dist.get_backend(group))
        # A group of several backends (`cpu:gloo,cuda:nccl`) has one for the host.
        self.host = "gloo" in self.backend or "mpi" in self.backend
        self.device = torch.device("cpu") if self.host else torch.device("cuda", torch.cuda.current_device())
        self.globals = list(range(dist.get_world_size())) if group is None else dist.get_process_group_ranks(group)
        if not self.host and self.size < dist.get_world_size():
            raise RuntimeError(
                f"sordino.torch.Fabric: a group of {self.size} of {dist.get_world_size()} ranks over {self.backend} has no "
                'tags to tell words apart; pass a group made with backend="gloo"'
            )
        # Making a group inside a group asks for ranks that have made equally many; tags do not.
        taken = group is not None and self.host and backend is None
        self.group = group if taken else self._new(self.globals)
        self.tags = _tags_of(self.group)
        self.pairs = {} if self.host else self._pairs()
        self.mesh = Mesh.join(self.group, self.rank, self.size) if self.host and self.size > 1 else None
        self.sent: dict[int, deque] = {peer: deque() for peer in range(self.size)}
        if self.mesh is not None:
            self.sent.update(self.mesh.waiting)
        self.tags_out = [0] * self.size
        self.tags_in = [0] * self.size

    def _tag(self, count: int) -> int:
        return self.tags + count % (1 << TAG_BITS)

    def _new(self, ranks):
        limit = None if self.timeout is None else timedelta(seconds=self.timeout)
        backend = "gloo" if "gloo" in self.backend and ":" in self.backend else self.backend
        return dist.new_group(ranks, timeout=limit, backend=backend)

    def _pairs(self):
        """A group for every ordered pair: all ranks make all of them."""
        ends = range(self.size)
        return {(a, b): self._new([self.globals[a], self.globals[b]]) for a in ends for b in ends if a != b}

    def send(self, to: int, data) -> None:
        """Sends a word to rank ``to``; does not wait until it is heard."""
        if self.mesh is not None:
            with self._naming(to, "take a word"):
                self.mesh.send(to, memoryview(data).cast("B"), UNSENT, self._limit())
            return
        word = np.frombuffer(memoryview(data).cast("B"), dtype=np.uint8)
        head = np.zeros(HEAD, dtype=np.uint8)
        head[:8] = np.frombuffer(len(word).to_bytes(8, "little"), dtype=np.uint8)
        room = HEAD - 8
        head[8 : 8 + min(len(word), room)] = word[:room]
        self._send(to, torch.from_numpy(head))
        if len(word) > room:
            # Copied: the caller's bytes may be gone before they have left.
            self._send(to, torch.from_numpy(word[room:].copy()))

    def _send(self, to: int, tensor: torch.Tensor) -> None:
        tensor = tensor.to(self.device)
        with self._naming(to, "take a word"):
            work = dist.isend(
                tensor, self.globals[to], group=self._towards(self.rank, to), tag=self._tag(self.tags_out[to])
            )
        self.tags_out[to] += 1
        waiting = self.sent[to]
        waiting.append((work, tensor))
        while len(waiting) > UNSENT or (waiting and not self.host and waiting[0][0].is_completed()):
            self._finish(to)

    def receive(self, from_: int) -> bytes:
        """The next word of rank ``from_``."""
        if self.mesh is not None:
            with self._naming(from_, "say a word"):
                return self.mesh.receive(from_, self._limit())
        head = self._receive(from_, HEAD)
        length, room = int.from_bytes(head[:8].tobytes(), "little"), HEAD - 8
        if length <= room:
            return head[8 : 8 + length].tobytes()
        return head[8:].tobytes() + self._receive(from_, length - room).tobytes()

    def here(self, ranks) -> bool:
        """Whether words of all these ranks are here already; moves on what is on its way, and never waits."""
        return self.mesh is not None and self.mesh.here(ranks)

    def _receive(self, from_: int, length: int) -> np.ndarray:
        tensor = torch.empty(length, dtype=torch.uint8, device=self.device)
        with self._naming(from_, "say a word"):
            group = self._towards(from_, self.rank)
            work = dist.irecv(tensor, self.globals[from_], group=group, tag=self._tag(self.tags_in[from_]))
            self._wait(work)
        self.tags_in[from_] += 1
        return tensor.cpu().numpy()

    def _towards(self, source: int, target: int):
        return self.group if self.host else self.pairs[source, target]

    def _wait(self, work) -> None:
        if self.host:
            work.wait() if self.timeout is None else work.wait(timedelta(seconds=self.timeout))
            return
        # NCCL's own wait only orders streams.
        limit = None if self.timeout is None else time.monotonic() + self.timeout
        while not work.is_completed():
            if limit is not None and time.monotonic() > limit:
                raise RuntimeError("Timed out waiting")
            time.sleep(0.0002)
        work.wait()

    def _limit(self) -> float:
        """Seconds that a word of the mesh is waited for."""
        if self.timeout is not None:
            return self.timeout
        try:
            return self.group._get_backend(self.device).options._timeout.total_seconds()
        except (AttributeError, RuntimeError):
            return dist.default_pg_timeout.total_seconds()

    def _finish(self, to: int) -> None:
        if self.mesh is not None:
            with self._naming(to, "take a word"):
                self.mesh.settle(to, self._limit())
            return
        work, _ = self.sent[to].popleft()
        with self._naming(to, "take a word"):
            self._wait(work)

    def settle(self) -> None:
        """Waits until everything sent has left. Only after a meeting: a peer takes a word when it listens for it."""
        for to, waiting in self.sent.items():
            while waiting:
                self._finish(to)

    def all_reduce(self, x: np.ndarray) -> None:
        """Adds up ``x`` over all ranks in place, by the process group's own all-reduce: fast, in no promised order."""
        tensor = torch.from_numpy(x).to(self.device)
        dist.all_reduce(tensor, group=self.group)
        if not self.host:
            x[...] = tensor.cpu().numpy()

    def __del__(self):
        # What is on its way stays on its way when nobody holds the fabric any more.
        mesh = getattr(self, "mesh", None)
        if mesh is not None and not any(mesh.waiting.values()):
            mesh.close()
        elif mesh is not None and _LINGERING is not None:
            _LINGERING.append(mesh)
        elif _LINGERING is not None:  # the interpreter may be on its way out
            _LINGERING.extend(word for waiting in getattr(self, "sent", {}).values() for word in waiting)

    def everybodys(self, word: bytes) -> list[bytes]:
        """Every rank's word, in the order of ranks: a collective call."""
        for peer in range(self.size):
            if peer != self.rank:
                self.send(peer, word)
        words = [bytes(word) if peer == self.rank else self.receive(peer) for peer in range(self.size)]
        self.settle()
        return words

    def _naming(self, peer: int, what: str):
        return _Naming(self, peer, what)


class _Naming:
    """Turns what a process group says of a failure into a sentence that names the rank."""

    def __init__(self, fabric: Fabric, peer: int, what: str):
        self.fabric, self.peer, self.what = fabric, peer, what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, RuntimeError):
            return False
        ours, text = self.fabric.rank, str(error)
        who = f"rank {self.peer}"
        if "imed out" in text or "imeout" in text:
            limit = "the process group's time" if self.fabric.timeout is None else f"{self.fabric.timeout:g} s"
            raise TimeoutError(
                f"rank {ours} waited {limit} for {who} to {self.what}: is {who} still there, and does it make the same "
                "meetings? a longer `timeout=` helps where it is only slow"
            ) from error
        raise ConnectionError(f"rank {ours} lost {who} while waiting for it to {self.what}: {text}") from error
