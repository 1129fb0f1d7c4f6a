"""Checkpoints of a run in torch: every rank's state in a file of its own, and one name that says which folder counts.

::

    checkpoint/latest                       names the folder that counts, renamed into place
    checkpoint/step-000000120/manifest.json steps, ranks, method
    checkpoint/step-000000120/rank-0.pt     the rank's model, optimizer, engine, generators, and what else was given

Killed at any instant, a writer leaves a checkpoint that loads: a folder counts only once ``latest`` names it, the folder
that it names is never touched, and older ones are removed afterwards.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import torch
from torch import nn

from ..errors import MismatchError, RequestError
from .optimizer import Wrapped

__all__ = ["load", "save"]

FOLDER, LATEST, MANIFEST = "checkpoint", "latest", "manifest.json"


def save(folder, opt: Wrapped, model: nn.Module, **more) -> Path:
    """Saves everything under ``folder``, which all ranks see; a collective call.

    What is in ``more`` goes along: things with a ``state_dict`` (schedulers, scalers) by that, numbers, strings and
    tensors as they are. The state of torch's generators is saved as well.
    """
    _expect(opt)
    opt.quiet()
    root = Path(folder) / FOLDER
    draft = root / _everybody(opt, lambda: _begin(root, opt.steps) if _rank(opt) == 0 else "")[0]
    _everybody(opt, lambda: _write_rank(draft, opt, model, more))
    _everybody(opt, lambda: _commit(root, draft, opt) if _rank(opt) == 0 else "")
    return draft


def load(folder, opt: Wrapped, model: nn.Module, **more) -> dict | None:
    """Takes back the checkpoint that counts, saved by this or another number of ranks; a collective call.

    Things in ``more`` that have a ``load_state_dict`` take theirs; the rest of what was saved is returned by name. Where
    there is no checkpoint nothing happens and none is returned, so a script may begin with it.
    """
    _expect(opt)
    opt.quiet()
    root = Path(folder) / FOLDER
    name = _current(root)
    names = _everybody(opt, lambda: name or "")
    if len(set(names)) > 1:
        raise MismatchError(
            f"{root}: ranks see different checkpoints ({', '.join(names)}); use a folder that all of them see"
        )
    if name is None:
        return None
    manifest = json.loads((root / name / MANIFEST).read_text())
    rank, ranks = _rank(opt), 1 if opt.alone else opt.fabric.size
    if manifest["ranks"] == ranks:
        ours = _read(root / name / f"rank-{rank}.pt")
        model.load_state_dict(ours["model"])
        opt.load_state_dict(ours["optimizer"])
        _set_generators(ours["generators"])
    else:
        every = [_read(root / name / f"rank-{k}.pt") for k in range(manifest["ranks"])]
        ours = every[rank] if rank < len(every) else every[0]
        model.load_state_dict(_mean_buffers(model, [each["model"] for each in every]))
        opt.load_state_dict([each["optimizer"] for each in every])
    found = dict(ours["more"])
    for key, thing in more.items():
        if key not in found:
            raise RequestError(f"the checkpoint has no `{key}`: it has {', '.join(found) or 'nothing besides'}")
        thing.load_state_dict(found[key])
    return found


def _expect(opt) -> None:
    if not isinstance(opt, Wrapped):
        raise RequestError(
            f"checkpoints are of what sordino.wrap gave, {type(opt).__name__} came; use torch.save for it"
        )


def _rank(opt: Wrapped) -> int:
    return 0 if opt.alone else opt.fabric.rank


def _everybody(opt: Wrapped, act) -> list[str]:
    """Every rank acts; what each answers, or the failure of any for all."""
    failure = None
    try:
        word = "+" + str(act() or "")
    except Exception as error:  # told to everybody, then raised
        failure, word = error, f"-rank {_rank(opt)}: {error}"
    words = [word] if opt.alone else [word.decode() for word in opt.fabric.everybodys(word.encode())]
    if failure is not None:
        raise failure
    for word in words:
        if word.startswith("-"):
            raise OSError(f"the checkpoint failed on {word[1:]}")
    return [word[1:] for word in words]


def _begin(root: Path, steps: int) -> str:
    """An empty folder beside the one that counts."""
    name = f"step-{steps:09d}"
    if _current(root) == name:
        name += "-again"
    if (root / name).exists():
        shutil.rmtree(root / name)
    (root / name).mkdir(parents=True)
    return name


def _write_rank(draft: Path, opt: Wrapped, model: nn.Module, more: dict) -> None:
    ours = {
        "model": model.state_dict(),
        "optimizer": opt.state_dict(),
        "generators": _generators(),
        "more": {key: thing.state_dict() if hasattr(thing, "state_dict") else thing for key, thing in more.items()},
    }
    path = draft / f"rank-{_rank(opt)}.pt"
    with open(path.with_suffix(".tmp"), "wb") as file:
        torch.save(ours, file)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".tmp").rename(path)


def _commit(root: Path, draft: Path, opt: Wrapped) -> None:
    ranks = 1 if opt.alone else opt.fabric.size
    for rank in range(ranks):
        if not (draft / f"rank-{rank}.pt").is_file():
            raise FileNotFoundError(
                f"{draft}/rank-{rank}.pt is missing: every rank writes into one folder that all see"
            )
    manifest = {"steps": opt.steps, "rounds": opt.session.rounds, "ranks": ranks, "method": opt.choices.method}
    _aside(draft / MANIFEST, json.dumps(manifest, indent=2))
    _sync(draft)
    _aside(root / LATEST, draft.name)
    _sync(root)
    for folder in root.glob("step-*"):
        if folder != draft:
            # A folder that stays is ignored, and tried again after the next checkpoint.
            shutil.rmtree(folder, ignore_errors=True)


def _aside(path: Path, text: str) -> None:
    """Writes a file aside and renames it into place."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _sync(folder: Path) -> None:
    """Puts a folder's entries onto the disk where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _current(root: Path) -> str | None:
    """The name of the folder that counts, if there is one."""
    path = root / LATEST
    if not path.is_file():
        return None
    name = path.read_text().strip()
    if not re.fullmatch(r"step-\d+(-again)?", name):
        raise MismatchError(f"{path}: expected the name of a folder, got `{name}`")
    return name


def _read(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


def _mean_buffers(model: nn.Module, states: list[dict]) -> dict:
    """Rank 0's model with everybody's mean of running statistics: parameters are the optimizer's to set."""
    merged = dict(states[0])
    for name, _ in model.named_buffers():
        if name in merged and merged[name].is_floating_point():
            mean = sum(state[name].double() for state in states) / len(states)
            merged[name] = mean.to(merged[name].dtype)
    return merged


def _generators() -> dict:
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def _set_generators(found: dict) -> None:
    torch.set_rng_state(found["cpu"])
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["cuda"])
