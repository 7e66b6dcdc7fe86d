"""What a filter of the run list asks, and what Tab adds to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.runs.run_filter import QueryError, Vocabulary, complete, matches, parse
from tui.screens.filter_text import FilterText


@dataclass
class Run:
    """A run that can be asked."""

    name: str = "digits-3"
    word: str = "finished"
    tags: Sequence[str] = ("demo", "two words")
    key: str = "/data/sweep/lr=0.5/digits-3"
    source: str = "native"
    values: Mapping[str, str | float] = field(
        default_factory=lambda: {
            "lr": "0.001",
            "opt": "AdamW",
            "amp": "True",
            "model.width": "64",
            "my param": "x",
            "val/accuracy": 0.92,
            "val/loss": math.nan,
        }
    )

    @property
    def searched(self) -> str:
        return "\n".join((self.name, *self.tags, self.key, self.word)).lower()

    def value(self, name: str) -> str | float | None:
        return self.values.get(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DIGITS finish",
        "sweep demo",
        "lr>=1e-3",
        "lr=1e-3",
        "lr<=0.001 lr>0 lr<1",
        "lr==0.00100",
        "opt=adamw",
        "opt!=sgd",
        "opt=adam*",
        "amp=true",
        "val/accuracy>0.9",
        "model.width=64",
        "val/loss=nan",
        "val/loss!=1",
        '"my param"=x',
        "status:finished",
        "status:fin",
        "tag:demo",
        'tag:"two words"',
        "name:digits*",
        "name:igit",
        "path:data/",
        "-name:old",
        "name:*3",
        "path:/data/*/digits-3",
        "source:native",
        "-status:running",
        "-lr>1",
        "-sgd",
        "no such | lr>0",
        "no-such|digits",
        "digits |",
        '"two words"',
        "-unknown>3",
        # A folder of a sweep, where the run has no such parameter.
        'dropout=1 | "lr=0.5"',
    ],
)
def test_filter_that_holds(text: str) -> None:
    assert parse(text).holds(Run())


@pytest.mark.parametrize(
    "text",
    [
        "nowhere",
        "digits nowhere",
        "lr>1e-3",
        "lr!=1e-3",
        "lr=2e-3",
        "opt=adam",
        "opt>3",
        "val/loss>0",
        "val/loss<0",
        "unknown>3",
        "unknown!=3",
        "status:running",
        "tag:dem",
        "tag:two",
        "name:digits*4",
        "name:s*",
        "path:data*",
        "-name:DIGIT",
        "source:nativ",
        "-digits",
        "-lr<1",
        "nowhere | lr>1",
    ],
)
def test_filter_that_does_not_hold(text: str) -> None:
    assert not parse(text).holds(Run())


def test_folder_of_a_sweep_is_found_by_its_name() -> None:
    assert parse("lr=0.5").holds(Run(values={}))
    assert not parse("lr=0.7").holds(Run(values={}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr>=", "a value is missing after lr>="),
        (">3", "a name is missing before >"),
        ("lr>1e-", "lr> wants a number"),
        ("status:dead", "no status begins with dead"),
        ("status:", "which status?"),
        ("stauts:running", "no stauts: here, but name:, path:, source:, status:, tag:"),
        ('"open', 'a " is not closed'),
        ("digits -", "what should not be, after '-'?"),
    ],
)
def test_incomplete_filter_says_what_is_missing(text: str, said: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(text)
    assert str(error.value) == said


@given(st.text(alphabet='ab=<>!|-:"* \u00e4.1e', max_size=30))
def test_any_text_is_a_filter_or_an_error_in_words(text: str) -> None:
    try:
        parse(text).holds(Run())
    except QueryError as error:
        assert str(error)


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=8))
def test_star_stands_for_anything(pattern: str, text: str) -> None:
    def slowly(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(slowly(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return text[:1] == pattern[0] and slowly(pattern[1:], text[1:])

    assert matches(pattern, text) == slowly(pattern, text)


KNOWN = Vocabulary(
    names=["lr", "lr_decay", "opt", "train/loss", "val/accuracy", "my param"],
    tags=["demo", "two words"],
    run_names=["digits"],
    values={"opt": ["adamw", "sgd", "sgd"]}.get,  # type: ignore[arg-type]
)


@pytest.mark.parametrize(
    ("typed", "text", "choices"),
    [
        ("l", "lr", ["lr", "lr_decay"]),
        ("x val", "x val/accuracy", []),
        ("acc", "val/accuracy", []),
        ("-st", "-status:", []),
        ("a|tag:d", "a|tag:demo", []),
        ("status:f", "status:f", ["finished", "failed"]),
        ("status:fi", "status:finished", []),
        ("tag:tw", 'tag:"two words"', []),
        ("my", '"my param"', []),
        ("opt=", "opt=", ["adamw", "sgd"]),
        ("opt!=s", "opt!=sgd", []),
        ("name:", "name:digits", []),
        ("zzz", "zzz", []),
        ('"op', '"op', []),
    ],
)
def test_tab_completes_as_far_as_it_is_certain(typed: str, text: str, choices: list[str]) -> None:
    assert complete(typed, KNOWN) == (text, choices)


def typed_into(filter_text: FilterText, text: str) -> FilterText:
    for char in text:
        filter_text.press(char, char)
    return filter_text


def test_what_cannot_be_understood_leaves_the_filter_in_front_of_it() -> None:
    text = typed_into(FilterText(open=True), "digits lr>")
    assert (text.query, text.problem) == (parse("digits"), "a value is missing after lr>")
    text.press("enter", "\r")
    assert text.open, "the reason is still to be seen"
    typed_into(text, "1")
    assert (text.query, text.problem) == (parse("digits lr>1"), "")
    text.press("enter", "\r")
    assert not text.open


def test_tab_in_the_filter_shows_what_may_follow_until_the_next_key() -> None:
    text = typed_into(FilterText(open=True, known=lambda: KNOWN), "l")
    text.press("tab", "\t")
    assert (text.text, text.choices) == ("lr", ["lr", "lr_decay"])
    text.press("=", "=")
    assert (text.text, text.choices) == ("lr=", [])
