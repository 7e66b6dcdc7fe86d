"""Starts scripts in forks of a process that has imported everything: a case costs no imports.

Run as `python zygote.py`; it takes one JSON object a line on stdin, and answers on stdout.
`{"script":…, "argv":…, "cwd":…, "out":…}` forks a child that waits; the answer is its pid.
`go` lets it run; the answer is its wait status, when it is gone. In between a tracer may attach:
what it counts begins with the script's own first call.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import runpy
import signal
import sys
import threading

import PIL.PngImagePlugin  # noqa: F401
import torch

import runstore.launch.launch
import runstore.launch.manager
import runstore.train.checkpoint
import runstore.train.feed
import runstore.train.loaders
import runstore.train.rng
import runstore.train.where  # noqa: F401

PR_SET_PTRACER = 0x59616D61
libc = ctypes.CDLL(None)

# A fork of a process with threads has half of them.
torch.set_num_threads(1)


def serve() -> dict[str, str | list[str]]:
    """Fork a child for each request, and return in the child, with what it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        gate, opener = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(opener)
            # Where only parents may trace (Yama), strace is none.
            libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
            os.read(gate, 1)
            os.close(gate)
            return dict(request)
        os.close(gate)
        answer(child)
        sys.stdin.readline()
        os.write(opener, b"1")
        os.close(opener)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.exit()


def answer(number: int) -> None:
    print(number, flush=True)  # noqa: T201 - the protocol


def become(script: str, argv: list[str], cwd: str, out: str) -> None:
    """Be `python script argv…` in `cwd`, with its output in the file `out`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, descriptor in enumerate((null, output, output)):
        os.dup2(descriptor, number)
    os.close(null)
    os.close(output)
    sys.argv = [script, *argv]
    leave(run(script))


def run(script: str) -> int:
    """Run the script as the interpreter would, and return the exit status."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException as error:  # noqa: BLE001 - what the interpreter does
        sys.last_value = error
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def leave(status: int) -> None:
    """Do what the interpreter does at its end, but for taking PyTorch to pieces: 0.7 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    become(**serve())  # type: ignore[arg-type]
