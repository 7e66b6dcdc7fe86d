"""Write a run of format 1 with nothing but Python's standard library."""

import base64
import json
import math
import os
import time
from pathlib import Path


def line(metrics, **fields):
    bad = {name: str(value) for name, value in metrics.items() if not math.isfinite(value)}
    floats = {name: None if name in bad else float(value) for name, value in metrics.items()}
    record = fields | {"time": time.time()} | floats | ({"_nonfinite": bad} if bad else {})
    return json.dumps(record, allow_nan=False).replace("\x7f", "\\u007f") + "\n"


run_id = time.strftime("%Y%m%d-%H%M%S-stdlib-", time.gmtime())
run_dir = Path("runs", run_id + base64.b32encode(os.urandom(5)).decode().lower())
run_dir.mkdir(parents=True)
facts = {"format": 1, "id": run_dir.name, "name": "stdlib", "created": time.time()}
(run_dir / ".run.tmp").write_text(json.dumps(facts | {"params": {"lr": 0.1}, "tags": []}))
(run_dir / ".run.tmp").rename(run_dir / "run.json")
with (run_dir / "events-0001.jsonl").open("x", buffering=1) as events:
    events.write(line({}, event="open", format=1, attempt=1))
    with (run_dir / "metrics-0001.jsonl").open("x", buffering=1) as metrics:
        for step in range(1, 101):
            metrics.write(line({"train/loss": math.nan if step == 50 else 1 / step}, step=step))
    events.write(line({}, event="end", status="finished"))
