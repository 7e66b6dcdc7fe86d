"""Options that take all the words behind them: `--zip a=1,2 b=3,4`, as far as they have a `=`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import click
from click.shell_completion import CompletionItem

from runstore.cli.manual import ManualCommand

_BETWEEN = "\x1f"
"""Between words that are handed to click as one; no shell lets it be typed."""


class Words(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """The words `NAME=…` behind an option, as a tuple."""

    name = "words"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the words."""
        return value if isinstance(value, tuple) else tuple(str(value).split(_BETWEEN))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer nothing: names and values are the user's."""
        return []


WORDS = Words()


class WordsCommand(ManualCommand):
    """A command with options of the type `WORDS`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words behind such an option together, which click does not know."""
        names = {name for param in self.params if param.type is WORDS for name in param.opts}
        return super().parse_args(ctx, _gathered(args, names))


def _gathered(arguments: Sequence[str], names: set[str]) -> list[str]:
    """Return the arguments with the words behind each of these options made one."""
    gathered: list[str] = []
    place = 0
    while place < len(arguments) and arguments[place] != "--":
        gathered.append(arguments[place])
        place += 1
        if gathered[-1] in names:
            words = list(takewhile(_is_assignment, arguments[place:]))
            place += len(words)
            gathered += [_BETWEEN.join(words)] if words else []
    return [*gathered, *arguments[place:]]


def _is_assignment(word: str) -> bool:
    return "=" in word and not word.startswith("-")
