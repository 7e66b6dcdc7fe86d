"""Append-only files for PyTorch training runs: log them, grep them, resume them, watch them.

run = runstore.init(params={"lr": 0.1})
run.log({"train/loss": loss}, step=step)
run.finish()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runstore.errors import RunStoreError
    from runstore.images.gif import make_gif
    from runstore.launch.launch import init
    from runstore.launch.manager import RunManager
    from runstore.run.run import Run
    from runstore.sweeps.function import sweep
    from runstore.sweeps.grids import grid
    from runstore.tables.collection import RunCollection, load_all
    from runstore.tables.run_data import RunData, load
    from runstore.train.sampler import ResumableSampler, SeededDataset
    from runstore.train.stepper import Stepper

    __version__: str

__all__ = [
    "ResumableSampler",
    "Run",
    "RunCollection",
    "RunData",
    "RunManager",
    "RunStoreError",
    "SeededDataset",
    "Stepper",
    "grid",
    "init",
    "load",
    "load_all",
    "make_gif",
    "sweep",
]

_HOMES = {
    "ResumableSampler": "runstore.train.sampler",
    "SeededDataset": "runstore.train.sampler",
    "Run": "runstore.run.run",
    "RunCollection": "runstore.tables.collection",
    "RunData": "runstore.tables.run_data",
    "RunManager": "runstore.launch.manager",
    "RunStoreError": "runstore.errors",
    "Stepper": "runstore.train.stepper",
    "grid": "runstore.sweeps.grids",
    "init": "runstore.launch.launch",
    "load": "runstore.tables.run_data",
    "load_all": "runstore.tables.collection",
    "make_gif": "runstore.images.gif",
    "sweep": "runstore.sweeps.function",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): `import runstore` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("runstore")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runstore' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
