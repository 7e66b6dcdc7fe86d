"""Secrets are taken out before anything reaches the disk.

Two signs are used: the name that a value goes by (`secret_names`: `--api-key`, `HF_TOKEN`,
`password = …`) and the shape of the value (`secret_shapes`: tokens of well-known services, user
and password in a URL, private keys). What people hand over (a command, parameters, variables)
loses every value of a telling name; code loses only literals, so that a patch still applies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from runstore.redaction.secret_names import Sign, sign_of
from runstore.redaction.secret_shapes import (
    REDACTED,
    is_placeholder,
    is_plain,
    is_secret,
    is_secret_literal,
    without_shapes,
)

# Names are possessive and start where no other has begun, or a long line would cost its square.
_NAME = re.compile(r"(?<![\w.-])[\w.-]++")
_CLOSED = r"""\\?["']?(?:[ \t]*+\])?[ \t]*+"""
_QUOTE_NEXT = r"""[ \t]*+(?=[A-Za-z]{0,2}["'])"""
# What may stand between a name and its value.
_LINK_IN_CODE = re.compile(
    rf"""
      (?P<call>\({_QUOTE_NEXT})                                 # login("…")
    | {_CLOSED}
      (?: (?P<comma>,{_QUOTE_NEXT})                             # setdefault("NAME", "…")
        | :[ \t]*+[\w.\[\],|][\w.\[\],| ]{{0,60}}+=[ \t]*+      # name: Final[str] = …
        | [:?+=!]?=>?[ \t]*+(?:\([ \t]*+(?:\n[+ -]?[ \t]*+)?)?  # name = (…
        | :[ \t]*+
        | \n[+ -]?[ \t]*+["']?value["']?[ \t]*+:[ \t]*+         # - name: NAME, value: …
      )
    | (?P<space>[ \t]++)                                        # --name …
    """,
    re.VERBOSE,
)
_LINK_IN_TEXT = re.compile(rf"{_CLOSED}(?:[:=]?=>?|:)[ \t]*+|(?P<space>[ \t]++)")
_SETTER = re.compile(r"(?:setdefault|[gs]etenv|putenv|get)\([ \t]*[A-Za-z]{0,2}[\"']$")

# An open quote ends with the line, open triple quotes with the text. What repeats is possessive
# only where it is one set of characters: Python before 3.11.5 takes too much or too little for
# a group (cpython#106052). Nothing follows the groups, so that they never go back anyway.
_TRIPLE_QUOTED = re.compile(
    r"[bfrutl]{0,2}(?P<quote>\"{3}|'{3})"
    r"(?P<value>(?:[^\\\"']++|\\.|(?!(?P=quote))[\"'])*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(
    r"(?:[bfrutl]{0,2}(?=\\?[\"']))?(?P<quote>\\?[\"'`])"
    r"(?P<value>(?:[^\\\n\"'`]++|(?!(?P=quote))(?:\\.|[\"'`]))*)",
    re.IGNORECASE,
)
_BARE_IN_CODE = re.compile(r"(?P<value>[^\s\"'`,;(){}\[\]<>&|]++)")
_BARE_IN_TEXT = re.compile(
    r"(?P<value>[\[{][^\]}\n]*+[\]}]?|(?:(?:bearer|basic|token|digest)[ \t]+)?[^\s\"'`&;]++)",
    re.IGNORECASE,
)
_HEADER_IN_TEXT = re.compile(r"(?P<value>[^\n\"']++)")
_ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ARGUMENT_NAME = re.compile(r"[-+~\w./@:]+")
# Above this a value that stays is not searched for names: the search would cost its square.
_SEARCHED_CHARS = 100


def redact_text(text: str) -> str:
    """Return `text` without values that have the shape of a secret."""
    return without_shapes(text)


def redact_source(text: str) -> str:
    """Return source text or a patch without the secrets that are literals in it."""
    return without_shapes(_without_named(without_shapes(text), in_code=True))


def redact_value(name: str, value: str) -> str:
    """Return what may be written of `value`, which goes by `name`."""
    if is_secret(sign_of(name), value):
        return REDACTED
    return without_shapes(_without_named(value, in_code=False))


def redact_params(value: Any, name: str = "") -> Any:
    """Return hyperparameters without secrets, whatever their nesting."""
    if isinstance(value, str):
        return redact_value(name, value)
    if isinstance(value, (Mapping, list, tuple)) and value and sign_of(name) >= Sign.LIKELY:
        return REDACTED
    if isinstance(value, Mapping):
        return {key: redact_params(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_params(item, name) for item in value]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return REDACTED if number and is_secret(sign_of(name), str(value)) else value


def redact_command(arguments: Sequence[str]) -> list[str]:
    """Return a command line without its secrets: `--token=x`, `--token x`, `TOKEN=x`, URLs."""
    cleaned: list[str] = []
    option = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if _is_value_with_a_dash(option, argument):
            cleaned.append(REDACTED)
            option = ""
        elif equals and _ARGUMENT_NAME.fullmatch(name):
            cleaned.append(f"{name}={_redact_argument(name, value)}")
            option = ""
        elif argument.startswith("-"):
            cleaned.append(_redact_argument("", argument))
            option = argument
        else:
            cleaned.append(_redact_argument(option, argument))
            option = ""
    return cleaned


def _is_value_with_a_dash(option: str, argument: str) -> bool:
    if len(argument) <= 2 or argument[0] != "-" or not is_secret(sign_of(option), argument):
        return False
    return argument[1] != "-" or (len(argument) >= 16 and not is_plain(argument))


def _redact_argument(name: str, value: str) -> str:
    if name == "-c" and not is_secret(sign_of(name), value):
        return redact_source(value)
    if value[:1] in ("{", "[") and sign_of(name) is Sign.NONE:
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return redact_value(name, value)
        cleaned = json.dumps(redact_params(document))
        return value if cleaned == json.dumps(document) else cleaned
    return redact_value(name, value)


class _Found(NamedTuple):
    """A value that follows a name, and where it stands."""

    name: str
    sign: Sign
    value: str
    start: int
    end: int
    quoted: bool
    link: re.Match[str]


def _without_named(text: str, in_code: bool) -> str:
    """Return `text` without values that follow a telling name; the quotes around them stay."""
    parts, done, skip = [], 0, 0
    is_found_secret = _is_secret_in_code if in_code else _is_secret_in_text
    for match in _NAME.finditer(text):
        if match.start() < skip:
            continue
        found = _value_behind(text, match, in_code)
        if found is None:
            continue
        if is_found_secret(text, found):
            parts += [text[done : found.start], REDACTED]
            done = skip = found.end
        elif len(found.value) > _SEARCHED_CHARS:
            skip = found.end
    return "".join([*parts, text[done:]])


def _value_behind(text: str, match: re.Match[str], in_code: bool) -> _Found | None:
    name, sign = match.group(), sign_of(match.group())
    login = in_code and sign is Sign.NONE and name.endswith("login")
    if sign is Sign.NONE and not login:
        return None
    link = (_LINK_IN_CODE if in_code else _LINK_IN_TEXT).match(text, match.end())
    if link is None or (link["space"] and not name.startswith("--")):
        return None
    if login != bool(in_code and link["call"]):
        return None
    quoted = _TRIPLE_QUOTED.match(text, link.end()) or _QUOTED.match(text, link.end())
    bare = _BARE_IN_CODE if in_code else _bare_in_text(name)
    value = quoted or bare.match(text, link.end())
    if value is None:
        return None
    sign = Sign.OPAQUE if login else sign
    return _Found(name, sign, value["value"], *value.span("value"), quoted is not None, link)


def _bare_in_text(name: str) -> re.Pattern[str]:
    header = name.lower().endswith(("cookie", "authorization"))
    return _HEADER_IN_TEXT if header else _BARE_IN_TEXT


def _is_secret_in_text(_text: str, found: _Found) -> bool:
    return is_secret(found.sign, found.value) and not is_placeholder(found.value)


def _is_secret_in_code(text: str, found: _Found) -> bool:
    if not found.quoted:
        return _is_bare_secret(text, found)
    name_start = found.link.start() - len(found.name)
    if found.link["comma"] and not _SETTER.search(text, max(0, name_start - 40), name_start):
        # ("--token", "the token to log in with"): what follows is rarely the value.
        sign = min(found.sign, Sign.OPAQUE)
        one_word = re.search(r"\s", found.value) is None
        return one_word and is_secret_literal(sign, found.name, found.value)
    return is_secret_literal(found.sign, found.name, found.value)


def _is_bare_secret(text: str, found: _Found) -> bool:
    """In YAML and shell files values have no quotes; in Python such a thing is an expression."""
    following = text[found.end : found.end + 1]
    if following in {"(", "["}:
        return False
    # NAME=value, and no more on the line: in a shell or an .env file.
    is_variable = found.link.group() == "=" and following in {"", "\n"}
    if is_variable and _ENVIRONMENT_NAME.fullmatch(found.name.lstrip("+-")):
        plain_name = found.value == found.name.lstrip("+-") or is_placeholder(found.value)
        return is_secret(found.sign, found.value) and not plain_name
    if found.sign is Sign.SURE and found.value.isdigit():
        return len(found.value) > 3
    opaque = len(found.value) >= 8 and not is_plain(found.value)
    return opaque and is_secret_literal(found.sign, found.name, found.value)
