"""Which names say that their value is a secret, and how surely they say it.

Names are read word by word, so that `--max-tokens`, `tokenizer` and `--key-dim` are settings.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache


class Sign(IntEnum):
    """How far a name gives its value away; a surer sign asks less of the value."""

    NONE = 0
    LONG_OPAQUE = 1
    """A bare `key`: a secret if the value is long, with letters and digits."""
    OPAQUE = 2
    """`acme_key`: a secret unless the value is made of plain words."""
    LIKELY = 3
    """`token`, `auth`: a secret; in code, where the words have other meanings, if opaque."""
    SURE = 4
    """`password`, `api_key`: a secret, and in code every literal is."""


_SURE_WORDS = frozenset("credential credentials".split())
_SURE_ENDINGS = (
    *("password", "passwords", "passwd", "passphrase", "passwort", "secret", "secrets"),
    *("apikey", "apikeys", "accesskey", "secretkey", "privatekey"),
)
_LIKELY_WORDS = frozenset("cookie cookies authorization bearer".split())
_LAST_WORDS = frozenset("auth pwd pw pass".split())
_KEY_OWNERS = frozenset(
    "api access secret private account auth signing encryption ssh wandb openai anthropic comet"
    " neptune hf aws gcp azure license master root admin service deploy client hmac jwt".split()
)
_KEY_SETTINGS = frozenset(
    "sort primary foreign cache dict group partition metric monitor public label image text input"
    " output target index column field lookup hash map config state batch query rng prng no".split()
)
# What language models call their markers: --pad-token "<pad>" is a setting.
_MARKER_TOKENS = frozenset(
    "pad eos bos mask unk sep cls special start end image per num max min next last first"
    " new".split()
)
_PASSES = frozenset("forward backward single one two first second num n low high band".split())
# password_file, secret_length: what follows is about a secret, but is none.
_ABOUT = frozenset("file path dir length size type name field".split())
_NAME_CHARS = 200
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def sign_of(name: str) -> Sign:
    """Return how surely a value that goes by this name is a secret."""
    return _sign_of(name[-_NAME_CHARS:])


@lru_cache(maxsize=4096)
def _sign_of(name: str) -> Sign:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return Sign.NONE
    before, last = (words[-2] if len(words) > 1 else ""), words[-1]
    if any(word in _SURE_WORDS or word.endswith(_SURE_ENDINGS) for word in words):
        return Sign.SURE
    if any(word in _LIKELY_WORDS for word in words):
        return Sign.LIKELY
    if last in _LAST_WORDS:
        return Sign.NONE if last == "pass" and before in _PASSES else Sign.LIKELY
    if last.endswith("token"):
        return Sign.NONE if last == "token" and before in _MARKER_TOKENS else Sign.LIKELY
    return _sign_of_key(before, last)


def _sign_of_key(before: str, last: str) -> Sign:
    if last in {"key", "keys", "tokens"} and before in _KEY_OWNERS:
        return Sign.SURE
    if last != "key" or before in _KEY_SETTINGS:
        return Sign.NONE
    return Sign.OPAQUE if before else Sign.LONG_OPAQUE
