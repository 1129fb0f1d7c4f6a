"""Train one network on many workers that talk little.

Every published method is one row of choices along shared axes; any choice can be changed by itself.

>>> import sordino
>>> recipe = sordino.Recipe("qsr", compress="orq(9)", feedback="residual")
>>> recipe.check()
>>> len(sordino.methods()) > 40
True

:func:`wrap` makes a PyTorch optimizer talk little, :class:`Session` any loop of one's own, and :func:`run` trains a
network of the library's on a task of the library's. What needs PyTorch is imported when it is asked for.
"""

from typing import TYPE_CHECKING

from sordino._sordino import (
    Axis,
    Choice,
    Compressor,
    Method,
    Problem,
    Recipe,
    Schedule,
    Session,
    Told,
    axes,
    compressor,
    explain,
    methods,
    problem,
    run,
    schedule,
)
from sordino.errors import (
    DataError,
    DecodeError,
    DivergedError,
    MismatchError,
    RequestError,
    SordinoError,
    SystemError_,
    TimeoutError_,
)
from sordino.result import Result

__all__ = [
    "Axis",
    "Choice",
    "Compressor",
    "DataError",
    "DecodeError",
    "DivergedError",
    "Method",
    "MismatchError",
    "Problem",
    "Recipe",
    "RequestError",
    "Result",
    "Schedule",
    "Session",
    "SordinoError",
    "SystemError_",
    "TimeoutError_",
    "Told",
    "axes",
    "compressor",
    "explain",
    "methods",
    "problem",
    "run",
    "schedule",
]

if TYPE_CHECKING:
    from sordino.torch import DDPState, averaged, ddp_hook, load, save, wrap  # noqa: F401

#: What needs PyTorch, by the name it has in `sordino.torch`.
_TORCH = ("DDPState", "averaged", "ddp_hook", "load", "save", "wrap")


def __getattr__(name):
    if name in _TORCH:
        import sordino.torch

        return getattr(sordino.torch, name)
    raise AttributeError(f"module 'sordino' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_TORCH])
