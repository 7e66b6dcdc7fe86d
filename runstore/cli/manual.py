"""What `--help` says besides the options: examples, exit statuses, variables, where to read on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

USAGE = {"2": "wrong usage"}
ROOT_VARIABLE = {"RUNSTORE_ROOT": "the default of --root"}
READ_VARIABLES = {**ROOT_VARIABLE, "RUNSTORE_MAP": "the default of --map"}
HELP = ["-h", "--help"]
CONTEXT = {"help_option_names": HELP, "show_default": True}
"""How every program reads its options and shows their defaults."""


@dataclass(frozen=True, kw_only=True)
class Manual:
    """The sections behind a command's options."""

    examples: Mapping[str, str] = field(default_factory=dict)
    """What is wanted, and the line that does it."""
    statuses: Mapping[str, str]
    """What each exit status means; 2, wrong usage, is added."""
    variables: Mapping[str, str] = field(default_factory=dict)
    see: Sequence[str]
    """Commands, and pages below docs/."""

    def write(self, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        if self.examples:
            with formatter.section("Examples"):
                self._write_examples(formatter)
        with formatter.section("Exit status"):
            formatter.write_dl(sorted({**USAGE, **self.statuses}.items(), key=_by_number))
        if self.variables:
            with formatter.section("Environment"):
                formatter.write_dl(list(self.variables.items()))
        with formatter.section("See also"):
            formatter.write_text(", ".join(self.see))

    def _write_examples(self, formatter: click.HelpFormatter) -> None:
        for number, (wanted, line) in enumerate(self.examples.items()):
            if number:
                formatter.write_paragraph()
            formatter.write_text(f"{wanted}:")
            # Never wrapped: whoever copies a line wants all of it.
            formatter.write(f"{'':{formatter.current_indent}}  {line}\n")


def _by_number(status: tuple[str, str]) -> tuple[bool, int]:
    return not status[0].isdigit(), int(status[0]) if status[0].isdigit() else 0


class ManualCommand(click.Command):
    """A command whose `--help` is its manual page."""

    def __init__(self, *args: Any, manual: Manual, **options: Any) -> None:
        """Take `manual`, and what a `click.Command` takes."""
        super().__init__(*args, **options)
        self.manual = manual

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return `-h` and `--help`, also for a command without its group.

        A command keeps the option that it made first, and would keep one without `-h`.
        """
        return list(HELP)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the arguments are, where their kind tells, and the options."""
        told = [
            (param.human_readable_name, about)
            for param in self.params
            if isinstance(param, click.Argument) and (about := getattr(param.type, "about", ""))
        ]
        if told:
            with formatter.section("Arguments"):
                formatter.write_dl(told)
        super().format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what stands behind the options."""
        self.manual.write(formatter)
