"""What somebody asks a sweep to be: the command line and a file of TOML, taken together."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstore.errors import SweepError
from runstore.files.paths import slugify
from runstore.sweeps.axes import (
    Axis,
    cells_of,
    check_name,
    expanded,
    grid_axis,
    plain,
    zip_axis,
    zipped,
)
from runstore.sweeps.document import Sweep, load
from runstore.sweeps.grids import Params
from runstore.sweeps.plan import plan
from runstore.sweeps.search import check as check_search
from runstore.sweeps.slurm.options import SlurmOptions, slurm_options, slurm_words
from runstore.sweeps.space import searched

KEYS = (
    *("name", "command", "grid", "zip", "search", "trials", "metric", "jobs", "gpus"),
    "slurm",
)
Columns = dict[str, list[Any]]


@dataclass(slots=True)
class Asked:
    """A sweep as it is asked for; what is missing is None or empty."""

    command: list[str] = field(default_factory=list)
    name: str | None = None
    grids: list[Columns] = field(default_factory=list)
    """Several are one behind the other: their union."""
    zips: list[Axis] = field(default_factory=list)
    search: dict[str, str] = field(default_factory=dict)
    trials: int | None = None
    metric: str | None = None
    jobs: int | None = None
    gpus: int | None = None
    slurm: dict[str, str] = field(default_factory=dict)
    """What Slurm is asked for, by sbatch's names; empty for cells that run here."""

    @property
    def has_cells(self) -> bool:
        """Whether it says which cells there are."""
        return bool(self.grids or self.zips)

    def add_grids(self, texts: Sequence[str]) -> None:
        """Take `lr=1e-3,1e-4` of the command line; it replaces the same name of the file.

        Raises:
            SweepError: it cannot be read, or a name comes twice.
        """
        columns: Columns = {}
        for text in texts:
            axis = grid_axis(text)
            (name,) = axis[0]
            if name in columns:
                raise SweepError(f"{name} is given twice; give each name once")
            columns[name] = [params[name] for params in axis]
        if columns:
            self.grids = [{**grid, **columns} for grid in self.grids or [{}]]

    def add_zip(self, texts: Sequence[str]) -> None:
        """Take `a=1,2 b=3,4` of the command line.

        Raises:
            SweepError: as `zip_axis`.
        """
        self.zips.append(zip_axis(texts))

    def add_search(self, texts: Sequence[str]) -> None:
        """Take `lr=uniform:0..1` of the command line; it replaces the same name of the file.

        Raises:
            SweepError: as `searched`.
        """
        self.search |= searched(texts)

    def add_slurm(self, texts: Sequence[str]) -> None:
        """Take `gpus=1 time=4:00:00` of the command line; it replaces the same key of the file.

        Raises:
            SweepError: a key is unknown or comes twice, or a value is none.
        """
        self.slurm |= slurm_words(texts)

    def slurm_options(self) -> SlurmOptions | None:
        """Return what Slurm is asked for; None for cells that run here.

        Raises:
            SweepError: it cannot be asked for that, or with what else is asked for.
        """
        if not self.slurm:
            return None
        if self.search:
            raise SweepError(
                "--slurm and a search: the cells of a search are chosen by the results of earlier "
                "ones; run it in a job of its own"
            )
        if self.jobs is not None or self.gpus is not None:
            raise SweepError("--jobs and --gpus are for this machine; --slurm parallel=N gpus=N")
        return slurm_options(self.slurm)

    def override(self, **values: Any) -> None:
        """Take what the command line says of the other fields, where it says something."""
        for name, value in values.items():
            if value:
                setattr(self, name, value)
        if values.get("gpus") == 0:
            self.gpus = 0

    def cells(self) -> list[Params]:
        """Return the sets of parameters.

        Raises:
            SweepError: a name is in two axes, or there are too many cells.
        """
        cells: list[Params] = []
        for grid in self.grids or [{}]:
            axes = [[{name: value} for value in values] for name, values in grid.items()]
            cells += cells_of([*axes, *self.zips])
        return cells


def planned(asked: Asked, root: Path) -> Sweep:
    """Return the sweep that is asked for; nothing is written.

    Only a name means the sweep that there is.

    Raises:
        SweepError: something is missing, does not go together, or `plan` refuses it.
        MissingPackageError: it is a search, and Optuna is not installed.
    """
    if asked.search and asked.has_cells:
        raise SweepError(
            "a search and a grid: give one; a value that stays is --search NAME=choice:VALUE"
        )
    if not asked.search and not asked.has_cells:
        return _named(asked, root)
    if not asked.command:
        raise SweepError("no command; give it behind --, as in: -- python train.py --lr {lr}")
    if not asked.search:
        return plan(asked.command, asked.cells(), root=root, name=asked.name)
    if not asked.trials or not asked.metric:
        raise SweepError("a search needs --trials N and --metric NAME:min, or NAME:max")
    check_search(asked.search, asked.metric)
    search = {"space": asked.search, "metric": asked.metric}
    return plan(asked.command, [], root=root, name=asked.name, search=search)


def _named(asked: Asked, root: Path) -> Sweep:
    """Return the sweep of that name, which goes on."""
    if not asked.name:
        raise SweepError(
            "no cells; give --grid NAME=A,B, --zip, --search or --file, or --name of a sweep"
        )
    sweep = load(root / slugify(asked.name))
    if asked.command and tuple(asked.command) != sweep.command:
        raise SweepError(f"{sweep.path} is the sweep of another command; give another --name")
    if not sweep.command:
        raise SweepError(f"{sweep.path} is a sweep of the function {sweep.function}, no command")
    return sweep


def from_file(path: Path) -> Asked:
    """Return what a file asks for.

    Raises:
        SweepError: it is no TOML, or has a key that is not known, or a value of another kind.
        OSError: it cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: {error}") from None
    for key in document:
        if key not in KEYS:
            raise SweepError(f"{path}: unknown key {key!r}; there are {', '.join(KEYS)}")
    try:
        return _asked(document)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None


def _asked(document: Mapping[str, Any]) -> Asked:
    return Asked(
        command=_command(document.get("command", [])),
        name=_of_kind(document, "name", str),
        grids=[_columns(one) for one in _tables(document, "grid")],
        zips=[zipped(_columns(one)) for one in _tables(document, "zip")],
        search=_search(document.get("search", {})),
        trials=_number(document, "trials", 1),
        metric=_of_kind(document, "metric", str),
        jobs=_number(document, "jobs", 1),
        gpus=_number(document, "gpus", 0),
        slurm=_slurm(document.get("slurm", {})),
    )


def _of_kind(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if value is not None and type(value) is not kind:
        raise SweepError(f"{key} is {value!r}, expected {'a text' if kind is str else 'a number'}")
    return value


def _number(document: Mapping[str, Any], key: str, least: int) -> Any:
    value = _of_kind(document, key, int)
    if value is not None and value < least:
        raise SweepError(f"{key} is {value}, expected a whole number of {least} or more")
    return value


def _command(value: object) -> list[str]:
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise SweepError(f"command is {value!r}: {error}") from None
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return value
    raise SweepError(f"command is {value!r}, expected a text or a list of texts")


def _tables(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = document.get(key, [])
    tables = [value] if isinstance(value, dict) else value
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise SweepError(f"{key} is {value!r}, expected a table [{key}], or several [[{key}]]")
    return [table for table in tables if table]


def _columns(table: Mapping[str, Any]) -> Columns:
    """Return the values of each name; one that is no list is a list of one."""
    columns: Columns = {}
    for name, value in table.items():
        check_name(name)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise SweepError(f"{name} has no values")
        if isinstance(value, str) and (numbers := expanded(name, value)):
            columns[name] = numbers
        else:
            columns[name] = [plain(one) for one in values]
    return columns


def _slurm(value: object) -> dict[str, str]:
    kinds = (str, int)
    if not isinstance(value, dict) or not all(isinstance(one, kinds) for one in value.values()):
        raise SweepError(f'slurm is {value!r}, expected a table: time = "4:00:00"')
    return slurm_words(
        f"{key}={str(one).lower() if one is True else one}" for key, one in value.items()
    )


def _search(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise SweepError(f'search is {value!r}, expected a table of texts: lr = "uniform:0..1"')
    return value
