"""Whether this process is one of several that train together; PyTorch is not imported to tell."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from runstore.errors import RunStoreError
from runstore.threads import start_daemon

LET_GO_S = 0.05
LONG_WAIT_S = 30.0


def several_ranks() -> bool:
    """Tell whether there is a process group of several.

    Raises:
        RunStoreError: a launcher has started several processes that have no group yet. Each would
            open a run of its own.
    """
    if world_size() > 1:
        return True
    if "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunStoreError(
            f"this is one of {os.environ['WORLD_SIZE']} processes of a launcher; call "
            "torch.distributed.init_process_group(…) before runstore.init(…)"
        )
    return False


def world_size() -> int:
    """Return how many processes train together."""
    if "torch" not in sys.modules:
        return 1
    from runstore.train import ranks

    return ranks.world_size()


@contextlib.contextmanager
def told_when_long(tell: Callable[[str], object]) -> Iterator[None]:
    """Wait for the other processes within; `tell` what is missing when that takes long.

    A collective that one rank alone has come to blocks it for the minutes of PyTorch's timeout.
    """
    is_over = threading.Event()

    def watch() -> None:
        if not is_over.wait(LONG_WAIT_S):
            tell(
                f"waiting for the other processes for {LONG_WAIT_S:.0f} s; each of them must go "
                "through the same splits and epochs (an evaluation under `if rank == 0` does not)"
            )

    start_daemon(watch, "runstore-waiting")
    try:
        yield
    finally:
        is_over.set()


def let_collectives_go() -> None:
    """Give gloo's threads time to drop what the last collectives of the run held.

    Such a thread takes the GIL for it; one that asks while the interpreter shuts down aborts the
    process, and torchrun then kills the other ranks (pytorch/pytorch#190489).
    """
    if world_size() > 1:
        time.sleep(LET_GO_S)
