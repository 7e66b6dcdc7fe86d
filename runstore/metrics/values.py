"""What users hand over, made into what is written: scalars into floats, parameters into JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from runstore.errors import BadValueError
from runstore.files.records import MAX_INT, without_surrogates
from runstore.redaction.redact import redact_value

SHOWN = 80
LATE_DEVICES = frozenset({"cuda", "xpu"})
"""Where tensors are fetched from without waiting: these have events, and know float64."""
_TENSORS = frozenset({("torch", "Tensor"), ("torch.nn.parameter", "Parameter")})


def as_float(key: str, value: object) -> float:
    """Return a Python or numpy scalar, a 0-d (or one-element) array or tensor, as a float.

    True and False are 1.0 and 0.0. A tensor on an accelerator is waited for.

    Raises:
        BadValueError: it is no number, with the key and the value.
    """
    plain = value
    try:
        item = getattr(value, "item", None)
        plain = item() if callable(item) else value
        if isinstance(plain, (str, bytes, type(None))):
            raise TypeError
        return float(plain)  # type: ignore[arg-type]  # whatever has __float__
    except OverflowError:
        return math.inf if plain > 0 else -math.inf  # type: ignore[operator]  # a huge int
    except Exception:  # noqa: BLE001  # whatever a value of the user's raises, it is no number
        shown = redact_value(key, shown_as_text(value))
        raise BadValueError(
            f"{key!r} is {shown}, expected a number; log scalars, not {_kind(value)}"
        ) from None


def is_late(value: Any) -> bool:
    """Tell whether `value` is a number on an accelerator, for which `as_float` would wait.

    Subclasses of tensors (DTensor, …) are not: what can be done with them is not known here.
    """
    kind = type(value)
    return (
        (kind.__module__, kind.__qualname__) in _TENSORS
        and value.device.type in LATE_DEVICES
        and value.numel() == 1
        and not value.is_complex()
    )


def as_index(key: str, value: object) -> int:
    """Return an integer for the reserved keys `step` and `epoch`.

    Raises:
        BadValueError: it is no integer, or beyond what JSON readers keep exactly.
    """
    number = as_float(key, value)
    if not math.isfinite(number) or number != int(number) or abs(number) > MAX_INT:
        raise BadValueError(
            f"{key!r} is {shown_as_text(value)}, expected an integer up to 2**53 - 1"
        )
    return int(number)


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def shown_as_text(value: object) -> str:
    """Return at most 80 characters of what `value` looks like; for messages."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # a message must not fail for its decoration
        return f"<{_kind(value)} whose repr raises {type(error).__name__}>"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def as_mapping(params: object) -> dict[str, Any]:
    """Return parameters as a dict: a mapping, an `argparse.Namespace`, or a dataclass.

    Raises:
        TypeError: it is none of these.
    """
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return {str(key): value for key, value in params.items()}
    if dataclasses.is_dataclass(params) and not isinstance(params, type):
        return dataclasses.asdict(params)
    if hasattr(params, "__dict__") and not callable(params):
        return dict(vars(params))
    raise TypeError(
        f"params is {shown_as_text(params)}, expected a dict, a namespace or a dataclass"
    )


def as_json(value: Any) -> Any:
    """Return `value` with what JSON does not know written as a number or a string.

    Non-finite floats become the strings `nan`, `inf` and `-inf`.
    """
    if value is None or isinstance(value, (bool, str)):
        return without_surrogates(value)
    # int() and float() because orjson takes no subclasses, and numpy.float64 is one.
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {without_surrogates(str(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    return _leaf_as_json(value)


def _leaf_as_json(value: Any) -> Any:
    try:
        item = getattr(value, "item", None)
        return as_json(item()) if callable(item) else without_surrogates(str(value))
    except Exception:  # noqa: BLE001  # an array of several elements, or whatever the user has
        return without_surrogates(shown_as_text(value))
