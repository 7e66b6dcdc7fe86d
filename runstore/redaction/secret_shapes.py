"""Which values look like a secret, whatever their name, and which cannot be one.

Every pattern is linear in the text: it starts where no other start of it is near, or is bounded.
Only single characters repeat possessively: before Python 3.11.5 a possessive group may match
what it should not (cpython#106052).
"""

from __future__ import annotations

import re

from runstore.redaction.secret_names import Sign, sign_of

REDACTED = "<redacted>"

_SHAPES = re.compile(
    r"""
      \bhf_[A-Za-z0-9]{16,}                              # Hugging Face
    | \b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})   # GitHub, GitLab
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                      # AWS
    | \bAIza[\w-]{30,}                                   # Google
    | \b(?:sk|pk|rk)-(?=[\w-]{0,60}\d)[\w-]{20,}         # OpenAI, Anthropic
    | \b(?:sk|rk|pk)_(?:live|test)_\w{16,}               # Stripe
    | \bxox[abprs]-[\w-]{10,}                            # Slack
    | (?<![\w-])eyJ[\w-]{10,}+\.[\w-]{10,}+\.[\w-]{10,}  # JSON web token
    | \bwandb_v1_\w{20,}                                 # W&B
    """,
    re.VERBOSE,
)
# The key must follow at once: code that only looks for the first line is no key.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?=[\s\\nr\"'+-]*(?:Proc-Type|[A-Za-z0-9+/=-]{16}))"
    r"(?:[^()\[\]{}-]++|(?!-----)-)*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
_URL_USER = re.compile(r"(?P<scheme>[a-z0-9]{0,10}://)(?P<user>(?:[^/\s\"'@]*+@)+)", re.IGNORECASE)
_URL_QUERY = re.compile(r"(?P<name>(?<=[?&])[\w.-]{1,40})=(?P<value>[^&\s\"'#<]++)")
_BEARER = re.compile(r"\b(?P<kind>bearer|basic)(?P<gap>[ \t]+)(?P<value>[\w.~+/=-]{8,})", re.I)

_LETTERS = (
    r"(?:[A-Za-z]{1,15}|(?:[A-Z][a-z]{1,14}){2,5}|[A-Z]?[a-z]{1,14}(?:[A-Z][a-z]{1,14}){1,4})"
)
_PLAIN_WORDS = re.compile(rf"[\W_]{{0,3}}(?:(?:{_LETTERS}\d{{0,2}}|\d{{1,3}})(?:[\W_]{{1,3}}|$))*")
_PLAIN_CHARS = 100
_NO_VALUE = re.compile(r"true|false|none|null|", re.IGNORECASE)
# A number is a setting, not a secret: --pad-token 0, auth_retries=3.
_NUMBER = re.compile(r"[-+]?[0-9.]{1,6}(?:e-?[0-9]+)?", re.IGNORECASE)
# What code and templates put in later: {name}, ${NAME}, $NAME, %(name)s, <your token>.
_PLACEHOLDER = re.compile(
    r"\$?\{[^{}]{0,80}\}|\$\([^()]{0,80}\)|\$\w{1,40}|%\(\w{1,40}\)s|%s"
    r"|<[\w /|.-]{0,30}>|\.\.\.|\*+"
)


def without_shapes(text: str) -> str:
    """Return `text` without values that have the shape of a secret."""
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _URL_USER.sub(_without_user, text)
    text = _URL_QUERY.sub(_without_query, text)
    text = _BEARER.sub(_without_bearer, text)
    return _SHAPES.sub(REDACTED, text)


def _without_user(match: re.Match[str]) -> str:
    user = match["user"][:-1]
    login_only = ":" not in user and (user == "git" or match["scheme"].lower().endswith("ssh://"))
    placeholder = user == REDACTED or not _PLACEHOLDER.sub("", user).strip(":")
    return match.group() if login_only or placeholder else f"{match['scheme']}{REDACTED}@"


def _without_query(match: re.Match[str]) -> str:
    if sign_of(match["name"]) is Sign.NONE or not _PLACEHOLDER.sub("", match["value"]):
        return match.group()
    return f"{match['name']}={REDACTED}"


def _without_bearer(match: re.Match[str]) -> str:
    if is_plain(match["value"]):
        return match.group()
    return f"{match['kind']}{match['gap']}{REDACTED}"


def is_plain(value: str) -> bool:
    """Tell whether a value is made of words, small numbers and signs: `val/loss`, `self.token`."""
    return len(value) <= _PLAIN_CHARS and _PLAIN_WORDS.fullmatch(value) is not None


def is_placeholder(value: str) -> bool:
    """Tell whether nothing is left of a value without what is put in later."""
    return len(value) <= _PLAIN_CHARS and not _PLACEHOLDER.sub("", value)


def is_secret(sign: Sign, value: str) -> bool:
    """Tell whether a value in a command, in parameters or in the environment is a secret."""
    if sign is Sign.NONE or value == REDACTED or _NO_VALUE.fullmatch(value):
        return False
    if sign is Sign.LONG_OPAQUE:
        return _is_long_opaque(value)
    if sign is Sign.OPAQUE:
        return not is_plain(value)
    return sign is Sign.SURE or not _NUMBER.fullmatch(value)


def is_secret_literal(sign: Sign, name: str, value: str) -> bool:
    """Tell whether a literal in code is a secret.

    Code is full of words that are no secrets, and a patch with a value taken out does not apply.
    """
    rest = value if len(value) > _PLAIN_CHARS else _PLACEHOLDER.sub("", value)
    if not is_secret(sign, rest) or value == name:
        return False
    if sign is not Sign.SURE:
        return len(rest) >= 8 and not is_plain(rest)
    names_one = sign_of(value) is not Sign.NONE and re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+", value)
    is_path = rest.startswith(("/", "./", "../", "~/")) and is_plain(rest)
    return not (names_one or is_path or rest.lower() == name.lower() or rest.lower() in _TYPES)


_TYPES = frozenset({"str", "string", "bytes", "text", "password", "secret"})


def _is_long_opaque(value: str) -> bool:
    # A value may come as Python writes it, in quotes; other signs make it a pattern or a text.
    value = value.strip("'\"")
    mixed = re.search(r"[A-Za-z]", value) and re.search(r"\d", value)
    return (
        bool(mixed) and re.fullmatch(r"[\w.~+/=:-]{16,}", value) is not None and not is_plain(value)
    )
