"""Secrets are taken out before anything reaches the disk.

Two signs are used: the name that a value goes by (`--api-key`, `HF_TOKEN`, `password = …`), word
by word so that `--max-tokens`, `tokenizer` and `--key-dim 64` stay; and the shape of the value
(tokens of well-known services, user and password in a URL, private keys).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

REDACTED = "<redacted>"

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "passwort", "secret", "secrets", "credential"}
    | {"credentials", "cookie", "authorization", "bearer", "apikey", "auth", "pwd"}
)
_KEY_OWNERS = frozenset(
    {"api", "access", "secret", "private", "account", "auth", "signing", "encryption", "ssh"}
    | {"wandb", "openai", "anthropic", "comet", "neptune", "hf", "aws", "gcp", "azure", "license"}
)
# What language models call their markers: --pad-token "<pad>" is a setting.
_MARKER_TOKENS = frozenset(
    {"pad", "eos", "bos", "mask", "unk", "sep", "cls", "special", "start", "end", "image", "per"}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# A number is a setting, not a secret: --pad-token 0, auth_retries=3.
_PLAIN_VALUE = re.compile(r"[-+]?[0-9.]{1,6}(?:e-?[0-9]+)?|true|false|none|null|", re.IGNORECASE)

_SHAPES = re.compile(
    r"""
      \bhf_[A-Za-z0-9]{16,}                              # Hugging Face
    | \b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})   # GitHub, GitLab
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                      # AWS
    | \bAIza[\w-]{30,}                                   # Google
    | \b(?:sk|pk|rk)-[\w-]{20,}                          # OpenAI, Anthropic
    | \b(?:sk|rk|pk)_(?:live|test)_\w{16,}               # Stripe
    | \bxox[abprs]-[\w-]{10,}                            # Slack
    | \beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}            # JSON web token
    | \bwandb_v1_\w{20,}                                 # W&B
    """,
    re.VERBOSE,
)
_URL_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^/\s\"']+)@")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ASSIGNMENT = re.compile(
    r"""(?P<name>[A-Za-z_][\w.-]*)(?P<between>["']?\s*(?:=|:)\s*)(?P<quote>["']?)"""
    r"""(?P<value>[^\s"',;)}\]]+)(?P=quote)"""
)


def is_secret_name(name: str) -> bool:
    """Tell whether a value that goes by this name is a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    previous = {word: before for before, word in pairwise(words)}
    if "token" in words:
        return previous.get("token") not in _MARKER_TOKENS
    return words[-1] == "key" and (len(words) == 1 or previous["key"] in _KEY_OWNERS)


def redact_text(text: str) -> str:
    """Return `text` without values that have the shape of a secret."""
    text = _URL_USER.sub(rf"\g<scheme>{REDACTED}@", text)
    return _SHAPES.sub(REDACTED, text)


def redact_value(name: str, value: str) -> str:
    """Return what may be written of `value`, which goes by `name`."""
    if is_secret_name(name) and not _PLAIN_VALUE.fullmatch(value):
        return REDACTED
    return redact_text(value)


def redact_command(arguments: Sequence[str]) -> list[str]:
    """Return a command line without its secrets: `--token=x`, `--token x`, `TOKEN=x`, URLs."""
    cleaned: list[str] = []
    option = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and re.fullmatch(r"[-+\w.]+", name):
            cleaned.append(f"{name}={redact_value(name, redact_source(value))}")
            option = ""
        elif argument.startswith("-"):
            cleaned.append(redact_text(argument))
            option = argument
        else:
            # An argument may be a JSON document, or a program after -c.
            cleaned.append(redact_value(option, redact_source(argument)))
            option = ""
    return cleaned


def redact_params(value: Any, name: str = "") -> Any:
    """Return hyperparameters without secrets, whatever their nesting."""
    if isinstance(value, str):
        return redact_value(name, value)
    if isinstance(value, Mapping):
        return {key: redact_params(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_params(item, name) for item in value]
    return value


def redact_source(text: str) -> str:
    """Return source text or a patch without secrets that are assigned to a telling name."""
    text = _PRIVATE_KEY.sub(REDACTED, text)
    return redact_text(_ASSIGNMENT.sub(_redact_assignment, text))


def _redact_assignment(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if not is_secret_name(name):
        # "login failed: password=…": what follows a colon may be an assignment itself.
        inner = _ASSIGNMENT.sub(_redact_assignment, value)
        return f"{name}{match['between']}{match['quote']}{inner}{match['quote']}"
    # In code, only a literal is a secret: token = os.environ["X"] and auth: str are not.
    literal = bool(match["quote"]) or (len(value) >= 8 and re.search(r"\d", value) is not None)
    if not literal or "(" in value or "[" in value:
        return match.group()
    redacted = redact_value(name, value)
    return f"{name}{match['between']}{match['quote']}{redacted}{match['quote']}"
