"""A model's parameters as one flat f32 vector in the memory of the host, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from ..errors import RequestError

__all__ = ["Flat", "buffers_of", "named_parameters_of", "role_of"]

_HOST = torch.device("cpu")
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


class Flat:
    """Named tensors, and the flat vector that they are together.

    Tensors may be of any floating type on any device; the vector is f32 on the host. Tensors of one device are copied
    together, once for every reading or writing.
    """

    def __init__(self, names: list[str], tensors: list[torch.Tensor], roles: list[str]):
        self.names, self.tensors, self.roles = names, tensors, roles
        sizes = [tensor.numel() for tensor in tensors]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64).tolist()
        self.exact = all(tensor.dtype == torch.float32 for tensor in tensors)
        """Whether what is written is what is read afterwards."""

    def __len__(self) -> int:
        return self.starts[-1]

    def layout(self) -> list[tuple[str, tuple[int, ...], str]]:
        """Name, shape and role of every tensor."""
        return [(n, tuple(t.shape), r) for n, t, r in zip(self.names, self.tensors, self.roles)]

    def spans(self):
        """Every tensor with its place in the vector."""
        return zip(self.tensors, self.starts, self.starts[1:])

    def read(self, of: list[torch.Tensor | None] | None = None) -> np.ndarray:
        """The vector of the tensors, or of others of their shapes (none is zeros)."""
        of = self.tensors if of is None else of
        devices = self._devices(of)
        if len(devices.get(_HOST, ())) == len(self.tensors) > 0:
            out = np.empty(len(self), dtype=np.float32)
            rows = [tensor.detach().reshape(-1).to(torch.float32) for tensor in of]
            torch.cat(rows, out=torch.from_numpy(out))
            return out
        out = np.zeros(len(self), dtype=np.float32)
        for places in devices.values():
            rows = [of[i].detach().reshape(-1).to(torch.float32) for i in places]
            together = torch.cat(rows).cpu().numpy()
            at = 0
            for i in places:
                start, end = self.starts[i], self.starts[i + 1]
                out[start:end] = together[at : at + end - start]
                at += end - start
        return out

    def write(self, vector: np.ndarray, to: list[torch.Tensor | None] | None = None) -> None:
        """Writes the vector into the tensors, or into others of their shapes (none is left out)."""
        to = self.tensors if to is None else to
        for device, places in self._devices(to).items():
            parts = [vector[self.starts[i] : self.starts[i + 1]] for i in places]
            whole = len(parts) == len(self.tensors) and vector.flags.writeable
            together = torch.from_numpy(vector if whole else np.concatenate(parts)).to(device)
            with torch.no_grad():
                for i, part in zip(places, together.split([len(part) for part in parts])):
                    to[i].copy_(part.view(to[i].shape))

    def refuse_sparse(self) -> None:
        """Refuses sparse gradients."""
        for name, parameter in zip(self.names, self.tensors):
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                raise RequestError(
                    f"parameter `{name}` has a sparse gradient: meetings are about dense vectors; make its layer with "
                    "sparse=False"
                )

    def refuse_thawed(self, groups: Iterable[dict]) -> None:
        """Refuses parameters of an optimizer that are trained and have no place here."""
        if sum(p.requires_grad for group in groups for p in group["params"]) > len(self.tensors):
            raise RequestError(
                "a parameter that was frozen when the optimizer was wrapped is trained now: what travels is fixed for "
                "a run; wrap the optimizer again, or freeze the parameter"
            )

    @staticmethod
    def _devices(tensors) -> dict[torch.device, list[int]]:
        devices: dict[torch.device, list[int]] = {}
        for i, tensor in enumerate(tensors):
            if tensor is not None and tensor.numel() > 0:
                devices.setdefault(tensor.device, []).append(i)
        return devices


def role_of(name: str, tensor: torch.Tensor, module: nn.Module | None) -> str:
    """The role of a parameter, by the module that owns it and by its shape."""
    if module is not None and (isinstance(module, _NORMS) or "Norm" in type(module).__name__):
        return "norm"
    return "weight" if tensor.dim() > 1 and not name.endswith("bias") else "bias"


def named_parameters_of(groups: Iterable[dict], model: nn.Module | None) -> Flat:
    """The trainable parameters of an optimizer's groups, each once, in the order of the groups."""
    known, owners = {}, {}
    if model is not None:
        known = {id(p): name for name, p in model.named_parameters()}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), module)
    names, tensors, roles, seen = [], [], [], set()
    for g, group in enumerate(groups):
        for i, parameter in enumerate(group["params"]):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            name = known.get(id(parameter), f"group{g}.{i}")
            _refuse_strangers(name, parameter)
            names.append(name)
            tensors.append(parameter)
            roles.append(role_of(name, parameter, owners.get(id(parameter))))
    return Flat(names, tensors, roles)


def buffers_of(model: nn.Module | None) -> Flat:
    """The running statistics of a model: its floating buffers that its state names. Counters are left alone."""
    names, tensors = [], []
    if model is not None:
        kept = model.state_dict(keep_vars=True).keys()
        for name, buffer in model.named_buffers():
            if name in kept and buffer.is_floating_point():
                names.append(name)
                tensors.append(buffer)
    return Flat(names, tensors, ["buffer"] * len(names))


def _refuse_strangers(name: str, parameter: torch.Tensor) -> None:
    if not parameter.is_floating_point():
        raise TypeError(f"parameter `{name}` is {parameter.dtype}: only floating parameters can be averaged; freeze it")
    if type(parameter).__name__ == "DTensor" or hasattr(parameter, "device_mesh"):
        raise TypeError(
            f"parameter `{name}` is a shard of a distributed tensor: sordino.wrap needs whole parameters on every rank; "
            "wrap a model that is not sharded"
        )
    if parameter.layout != torch.strided:
        raise TypeError(f"parameter `{name}` is {parameter.layout}: only dense parameters can be averaged; freeze it")
