"""The face for PyTorch: an optimizer that meets others, and what belongs to it."""

from .checkpoint import load, save
from .ddp import DDPState, ddp_hook
from .evaluation import averaged
from .fabric import Fabric
from .optimizer import Wrapped, wrap

__all__ = ["DDPState", "Fabric", "Wrapped", "averaged", "ddp_hook", "load", "save", "wrap"]
