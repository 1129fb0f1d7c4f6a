"""What a meeting does to the state of torch's optimizer, where it averages that."""

from __future__ import annotations

import json

import numpy as np
import torch

__all__ = ["average", "mean_state"]


def average(opt) -> None:
    """Averages moments densely over all ranks: every tensor of an optimizer's state that has its parameter's shape.

    A rank that has no such tensor (its layer was never used there) counts as zeros and stays without.
    """
    state, tensors = opt.inner.state, opt.flat.tensors
    mine = {
        key
        for tensor in tensors
        for key, value in state.get(tensor, {}).items()
        if torch.is_tensor(value) and value.is_floating_point() and value.shape == tensor.shape and value.dim() > 0
    }
    words = opt.fabric.everybodys(json.dumps(sorted(mine)).encode())
    for key in sorted({key for word in words for key in json.loads(word)}):
        found = [state[tensor].get(key) if tensor in state else None for tensor in tensors]
        vector = opt.flat.read(found)
        opt.flat.write(opt.average(vector, "aside:moments"), found)


def mean_state(states: list[dict]) -> dict:
    """The mean of several optimizers' ``state_dict()``: floating tensors entry by entry, the rest as the first has it."""
    first = states[0]
    merged = {}
    for index in sorted({i for state in states for i in state["state"]}):
        own = [state["state"][index] for state in states if index in state["state"]]
        merged[index] = {key: _mean([entry[key] for entry in own if key in entry]) for key in own[0]}
    return {"state": merged, "param_groups": first["param_groups"]}


def _mean(values: list):
    value = values[0]
    if not (torch.is_tensor(value) and value.is_floating_point()) or value.dim() == 0:
        return value
    total = np.zeros(tuple(value.shape), dtype=np.float64)
    for other in values:
        total += other.detach().cpu().double().numpy()
    return torch.from_numpy(total / len(values)).to(value.dtype).to(value.device)
