"""How a run is opened: `init`, and what a run's directory says of it from the first moment."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex

from runstore.console import say
from runstore.environment.facts import facts, output_files
from runstore.environment.sampler import DEFAULT_INTERVAL_S
from runstore.errors import UnusableDirectoryError
from runstore.files.checkpoints import ResumePoint, find_resume_point
from runstore.files.paths import RunPaths
from runstore.launch.attempts import new_directory, next_attempt, recorded, run_to_join
from runstore.launch.leftovers import seal_and_tell
from runstore.launch.run_document import describe, new_document, opening_facts
from runstore.launch.shared_run import SharedRun, open_shared
from runstore.metrics.values import as_json, as_mapping
from runstore.redaction.redact import redact_params
from runstore.resume.checkpointer import Checkpoints
from runstore.resume.save_rules import SaveEvery, SaveRules
from runstore.run import exits
from runstore.run.run import Run
from runstore.several import several_ranks, world_size
from runstore.stages.best_epoch import parse_best
from runstore.text import shell_word


def init(
    params: object = None,
    *,
    root: str | os.PathLike[str] = "runs",
    name: str | None = None,
    tags: Iterable[str] = (),
    resume: str | os.PathLike[str] = "auto",
    log_every: int = 1,
    strict: bool = False,
    best: str = "val/loss:min",
    save_every: str = "10min",
    keep_last: int = 2,
    keep_best: str | None = None,
    exact: bool = False,
    all_ranks: bool = False,
    tensorboard: bool = False,
    system_interval_s: float | None = DEFAULT_INTERVAL_S,
) -> Run:
    """Open a run and return it; use it as a context manager, or call `finish()`.

    Of several processes that train together (torchrun) each calls it, behind
    `torch.distributed.init_process_group`: they share one directory, and rank 0 writes.

    Until the run ends, SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 have handlers, which stop it
    when the optimizer step is done and saved, and call the script's own too. The run's directory
    gets a `requests/`, whose files `stop` and `checkpoint` ask the run to stop, or to save.

    Args:
        params: the hyperparameters: a dict, an `argparse.Namespace` or a dataclass. What JSON does
            not know is kept as text, and secrets are taken out before it is written.
        root: the directory that gets the run's directory; made when missing.
        name: a few words for people; part of the directory's name.
        tags: words to filter by.
        resume: `auto` joins the run that a launcher, as `runstore resume` is one, hands over
            (`RUNSTORE_RUN`, a run directory, and `RUNSTORE_PARAMS`, JSON; they beat `root`, `name`
            and `params`) and otherwise starts a new run; `must` fails without one; `never` always
            starts a new run; anything else is the run to go on with: a directory, or an id below
            `root`.
        log_every: a tracked train batch becomes a metrics row every so many optimizer steps, 1 or
            more.
        strict: raise on a value that is no number, instead of leaving it out with a warning.
        best: which epoch is the best one: `METRIC:min` or `METRIC:max`, with the metric's name as
            epochs have it, `split/name`.
        save_every: how often a checkpoint of the registered objects is written, besides the end of
            the last epoch: epochs (`1ep`), optimizer steps (`500st`) or time (`10min`, `30s`).
        keep_last: how many of the newest checkpoints stay, 1 or more.
        keep_best: the best epoch's checkpoint is written and stays, as `checkpoints/best.pt`:
            `METRIC:min` or `METRIC:max`.
        exact: refuse to go on from a checkpoint where the numbers would differ from those of an
            uninterrupted run, as far as that can be known: on other devices, with another number
            of processes, in the middle of an epoch with augmentation in workers, with generators
            that checkpoints do not hold. Checkpoints made in a loop over batches of the script's
            own, whose epoch would begin again, are passed over.
        all_ranks: `log` on other ranks than 0 writes too, to `metrics.rankN-….jsonl`.
        tensorboard: write TensorBoard's event files into the run's directory too. A thread does it;
            a killed process loses their last second. See them with `runstore tensorboard`.
        system_interval_s: seconds between two rows about CPU, memory, disk, network and GPUs, above
            0, written by a thread of their own, on other ranks than 0 too; None for no such rows.

    Returns:
        The open run.

    Raises:
        AttemptError: the run that is to go on is alive in another process.
        CheckpointError: the run that is to go on has checkpoints, and none can be read.
        RunNotFoundError: `resume` names no run.
        RunStoreError: `resume` is `must`, and no launcher gave a run; the launcher's params are no
            JSON object; this is one of several processes that have no process group yet.
        TypeError: `params` is none of these.
        ValueError: an option that cannot be read, in one line.
        UnusableDirectoryError: a RunStoreError and OSError: no run can be written there.
    """
    parse_best(best)
    if not isinstance(resume, str | os.PathLike):
        raise ValueError(
            f"resume is {resume!r}; expected 'auto', 'must', 'never', or a run: its directory, id "
            "or name"
        )
    if system_interval_s is not None and not system_interval_s > 0:
        raise ValueError(f"system_interval_s is {system_interval_s}, expected seconds, or None")
    options = _Options(
        root=Path(root),
        name=name,
        tags=[str(tag) for tag in ([tags] if isinstance(tags, str) else tags)],
        resume=resume,
        log_every=_positive("log_every", log_every),
        strict=strict,
        best=best,
        rules=SaveRules(
            SaveEvery.parse(save_every),
            _positive("keep_last", keep_last),
            parse_best(keep_best) if keep_best is not None else None,
        ),
        exact=exact,
        all_ranks=all_ranks,
        tensorboard=tensorboard,
        system_interval_s=system_interval_s,
    )
    given = as_mapping(params)
    if not several_ranks():
        return _open(given, options)
    return open_shared(lambda: _open(given, options), partial(_follow, options))


@dataclass(frozen=True, slots=True)
class _Options:
    """What `init` was given, checked."""

    root: Path
    name: str | None
    tags: list[str]
    resume: str | os.PathLike[str]
    log_every: int
    strict: bool
    best: str
    rules: SaveRules
    exact: bool
    all_ranks: bool
    tensorboard: bool
    system_interval_s: float | None

    def run(self, path: Path, params: dict[str, Any], attempt: int, **more: Any) -> Run:
        """Open the run's attempt."""
        return Run(
            path,
            params,
            attempt=attempt,
            log_every=self.log_every,
            strict=self.strict,
            best=self.best,
            all_ranks=self.all_ranks,
            system_interval_s=self.system_interval_s,
            **more,
        )


def _open(given: dict[str, Any], options: _Options) -> Run:
    """Claim an attempt of a new run, or of the one to go on with."""
    document = new_document(facts(), options.name, options.tags, best=options.best)
    run_dir, handed, begun = run_to_join(options.resume, options.root)
    more: dict[str, Any] = {}
    point: ResumePoint | None = None
    problems: list[str] = []
    is_new = run_dir is None
    if run_dir is None:
        run_dir, attempt = new_directory(options.root, options.name), 1
    else:
        attempt, stored = next_attempt(run_dir, begun)
        point, damaged = find_resume_point(run_dir, exact=options.exact)
        then = "the one before it is used" if point else "there is none before it"
        problems = [f"{problem}; {then}" for problem in damaged]
        if options.resume in ("auto", "must"):
            given, changed = recorded(stored, given)
            problems += changed
            # The launcher's run has the launcher's name, or none.
            document["name"] = ""
        if begun is not None:
            more = _words_of_the_script(stored, given, options)
        given = stored | given | handed
    try:
        run = options.run(
            # Absolute: the script may change its directory, and files are opened later too.
            run_dir.absolute(),
            given,
            attempt,
            opening=_opening(run_dir, attempt, point, is_watched=begun is not None) | more,
            checkpoints=_checkpoints(options, point),
        )
    except UnusableDirectoryError:
        if is_new:
            with contextlib.suppress(OSError):
                run_dir.rmdir()
        raise
    try:
        # Behind the claim: of two processes that start the run, the one that got it describes it.
        describe(run, document, is_watched=begun is not None)
        seal_and_tell(run.path, run.attempt, event=run.write_event, warn=run.warn)
        _make_requests(run)
        if options.tensorboard:
            # Behind everything that sets the step: there the event files of earlier attempts end.
            run.mirror_to_tensorboard()
    except BaseException as error:
        exits.end_by_exception(run, error)
        raise
    say(f"runstore: {run_dir}  (watch: runstore-tui {shell_word(run_dir.parent)})")
    _tell_where_it_goes_on(run, point, problems)
    return run


def _follow(options: _Options, shared: SharedRun, rank: int) -> Run:
    """Join the run that rank 0 has opened."""
    checkpoints = _checkpoints(options, shared.point)
    return options.run(
        shared.path, shared.params, shared.attempt, checkpoints=checkpoints, rank=rank
    )


def _checkpoints(options: _Options, point: ResumePoint | None) -> Checkpoints:
    return Checkpoints(options.rules, point, options.exact, world_size())


def _tell_where_it_goes_on(run: Run, point: ResumePoint | None, problems: list[str]) -> None:
    """Say in the terminal and in the events what an attempt makes of those before it."""
    for problem in problems:
        run.warn(problem)
    if point is not None:
        row = point.row
        where = "after" if row.facts.get("kind") == "epoch" else "in"
        epoch = f", {where} epoch {row.epoch}" if row.epoch else ""
        say(f"runstore: attempt {run.attempt} goes on at step {row.step}{epoch}")
    elif run.attempt > 1:
        run.write_event("restart", attempt=run.attempt)
        say(
            f"runstore: attempt {run.attempt} found no checkpoint and starts over "
            "(run.register(…) has them written)"
        )


def _positive(name: str, value: SupportsIndex) -> int:
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{name} is {number}, expected 1 or more")
    return number


def _make_requests(run: Run) -> None:
    """So that `touch RUN/requests/stop` works at once. Where it cannot be made, nobody can ask."""
    with contextlib.suppress(OSError):
        RunPaths(run.path).requests.mkdir(exist_ok=True)


def _words_of_the_script(
    stored: dict[str, Any], given: dict[str, Any], options: _Options
) -> dict[str, Any]:
    """Return what a command of `runstore exec` says of itself, for its `open` event.

    `run.json` was written before the command was started, and does not change.
    """
    own = {key: value for key, value in given.items() if key not in stored}
    words = {
        "name": options.name or "",
        "tags": options.tags,
        "best": options.best,
        "params": redact_params(as_json(own)),
    }
    return {key: value for key, value in words.items() if value}


def _opening(
    run_dir: Path, attempt: int, point: ResumePoint | None, *, is_watched: bool
) -> dict[str, Any]:
    """Further facts of an attempt's `open` event: what may differ between attempts."""
    opening = opening_facts(run_dir, attempt, facts(), is_watched=is_watched)
    opening |= {} if is_watched else output_files()
    if point is not None:
        opening |= {"cuts": point.cuts, "resumed_from": point.row.file, "step": point.row.step}
    return opening
