"""Runs in which every string is an attack on a terminal, made from the schemas of the format.

A field that is added to a schema is in them from then on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "docs" / "format"
TIME = 1_790_000_000.0

ESCAPES = {
    "OSC 52, the clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "OSC 0, the title": "\x1b]0;owned\x1b\\",
    "DCS": "\x1bP$q\"p\x1b\\",
    "CSI": "\x1b[31;1;46;5m\x1b[2J\x1b[H",
    "reset": "\x1bc",
    "C1": "\x9b41m\x9d0;owned\x9c\x90q\x9c\x85",
    "bidi": "\u202eowned\u2066\u200f\u061c\u2069",
    "lines": "\rowned\x0b\x0c\x08\x08\u2028\u2029",
    "others": "\x07\x7f\ufeff\x00",
}  # fmt: skip
MARKUP = "[/] [red]owned[/red] [@click=app.quit]go[/] [link=http://x]l[/link] [b"
PAYLOAD = "".join(ESCAPES.values()) + MARKUP
FORBIDDEN = sorted({char for text in ESCAPES.values() for char in text if not char.isprintable()})


def instance(schema: dict[str, Any] | bool, key: str = "") -> Any:
    """Return a value that fills every property of a schema, with the payload for each string."""
    if isinstance(schema, bool):
        return PAYLOAD
    kinds = schema.get("type", [])
    kind = kinds if isinstance(kinds, str) else next(iter(kinds), "")
    if isinstance(schema.get("const"), (int, float)):
        return schema["const"]
    match kind:
        case "object":
            return filled(schema)
        case "array":
            items = schema.get("items", True)
            return [instance(items) for _ in range(3)]
        case "integer" | "number":
            return TIME if key == "time" else 1
        case "boolean":
            return True
    return PAYLOAD


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object with every property, and a further one whose name is the payload."""
    known = {key: instance(sub, key) for key, sub in schema.get("properties", {}).items()}
    for rule in schema.get("patternProperties", {}).values():
        known[f"p{PAYLOAD}"] = instance(rule)
    further = schema.get("additionalProperties", True)
    if further is not False:
        known[PAYLOAD] = instance(further)
        known[f"train/{PAYLOAD}"] = instance(further)
    return known


def schema_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.schema.json").read_text("utf-8"))
    return found


def events() -> Iterator[dict[str, Any]]:
    """Yield one event of each kind that the schema knows, and one that it does not."""
    schema = schema_of("events")
    for rule in schema.get("allOf", []):
        known = rule["if"]["properties"]["event"]
        for name in known.get("enum", [known.get("const")]):
            fields = filled(rule.get("then", {}))
            yield {**filled(schema), **fields, "event": name, "time": TIME, "format": 1}
    yield {**filled(schema), "time": TIME}


def write_hostile_run(root: Path) -> Path:
    """Write the run below `root`, with names of files and directories that attack too."""
    run = root / PAYLOAD.replace("\0", "").replace("/", "|")
    run.mkdir(parents=True)
    kinds = {path.name.partition(".")[0] for path in SCHEMAS.glob("*.schema.json")}
    for kind in kinds:
        record = filled(schema_of(kind)) | {"format": 1}
        if kind in ("run", "progress"):
            (run / f"{kind}.json").write_text(json.dumps(record | {"attempt": 2}))
        elif kind in ("note", "tags"):
            folder = run / {"note": "notes"}.get(kind, kind)
            folder.mkdir()
            (folder / "20260101-000000-aaaaaaaa.json").write_text(json.dumps(record))
            (folder / f"{PAYLOAD}.json".replace("\0", "").replace("/", "|")).write_text("{")
        elif kind != "events":
            rows = [record | {"step": step, "epoch": step, "time": TIME} for step in (1, 2)]
            # Between values a carriage return is JSON, and a terminal writes over what was there.
            text = "".join(json.dumps(row).replace(", ", ",\r", 1) + "\n" for row in rows)
            folder = run / "checkpoints" if kind == "manifest" else run
            folder.mkdir(exist_ok=True)
            name = "manifest.jsonl" if kind == "manifest" else f"{kind}-0001.jsonl"
            (folder / name).write_text(text + json.dumps(PAYLOAD) + "\n{" + PAYLOAD, "utf-8")
    lines = "".join(json.dumps(event) + "\n" for event in events())
    ended = {"event": "end", "time": TIME, "status": "failed", "reason": PAYLOAD}
    (run / "events-0001.jsonl").write_text(lines + json.dumps(ended) + "\n")
    (run / "events-0002.jsonl").write_text(lines)
    for name in (PAYLOAD.replace("\0", "").replace("/", "|"), "patch.diff", "output.log"):
        (run / name).write_text(PAYLOAD)
    plain = root / f"plain{PAYLOAD}".replace("\0", "").replace("/", "|")
    plain.mkdir()
    (plain / f"{PAYLOAD}.jsonl".replace("\0", "").replace("/", "|")).write_text(
        json.dumps({"step": 1, PAYLOAD: 1.0}) + "\n{"
    )
    # An empty directory is a run beside one that is named as ours are.
    (root / "20260101-000000-empty-aaaaaaaa").mkdir()
    (root / f"empty{PAYLOAD}".replace("\0", "").replace("/", "|")).mkdir()
    return run
