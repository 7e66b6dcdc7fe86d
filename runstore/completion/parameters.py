"""The kinds of words that a command takes, each with what a shell may offer for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

RUN_KIND = "run"
COMMAND_KIND = "command"
"""Kinds of our own, beside click's `plain`, `dir` and `file`: the scripts know them."""


class RunName(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A run, as `runstore.runs.lookup.find` takes it."""

    name = "run"
    about = "a directory; or below --root an id, the beginning of one, a name, or latest"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer the runs below the root; directories where none fits, as when a path is typed."""
        # Imported at Tab only: `runstore-tui` would start later with it.
        from runstore.completion.candidates import run_candidates

        found = run_candidates(incomplete, _root_of(ctx))
        items = [CompletionItem(one.value, RUN_KIND, one.about) for one in found]
        return items or [CompletionItem(incomplete, "dir")]


class SampleName(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A name of image samples of the run that is typed in front of it."""

    name = "sample"
    about = "a name of the run's samples; may be left out where there is one"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer the names that the run has."""
        from runstore.completion.candidates import sample_candidates

        run = ctx.params.get("run")
        found = sample_candidates(incomplete, run, _root_of(ctx)) if run else []
        return [CompletionItem(one.value, RUN_KIND) for one in found]


def _root_of(ctx: click.Context) -> Path:
    """Return where the command that is typed would look; its words are not expanded yet."""
    places = ctx.params.get("root"), *(ctx.params.get("roots") or ())
    typed = next((place for place in places if place), None)
    named = typed or os.environ.get("RUNSTORE_ROOT") or "runs"
    return Path(os.path.expandvars(named)).expanduser()


class Directory(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A directory. `click.Path` would ask the file system, and wait for one that is silent."""

    name = "dir"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; whether it is there is found out, and told, by whoever opens it."""
        return Path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Leave it to the shell."""
        return [CompletionItem(incomplete, "dir")]


class CommandWord(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A word of a command that is to be run: the program, or one of its arguments."""

    name = "command"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Leave it to the shell."""
        has_program = bool(param.name and ctx.params.get(param.name))
        return [CompletionItem(incomplete, "file" if has_program else COMMAND_KIND)]


RUN = RunName()
SAMPLE = SampleName()
DIRECTORY = Directory()
COMMAND_WORD = CommandWord()
