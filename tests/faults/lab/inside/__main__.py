"""What the guest's first process runs: one job, told by `job.json` of the shared folder."""

from __future__ import annotations

import json
import os
import traceback
from typing import Any

from tests.faults.lab.inside import machine


def _outcome() -> dict[str, Any]:
    try:
        order = json.loads((machine.SHARE / "job.json").read_text())
        if not order["synced"]:
            # Before the library is imported, so that it cannot have another name for it.
            vars(os)["fdatasync"] = lambda descriptor: None
        from tests.faults.lab.inside.jobs import JOBS

        return {"result": JOBS[order["job"]](**order["given"])}
    except BaseException:  # noqa: BLE001 - the host is to see it, whatever it is
        return {"error": traceback.format_exc()[-3000:]}


if __name__ == "__main__":
    outcome = _outcome()
    machine.unmount_all()
    (machine.SHARE / "result.json").write_text(json.dumps(outcome))
