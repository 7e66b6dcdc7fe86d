"""Whether this process is one of several that train together; PyTorch is not imported to tell."""

from __future__ import annotations

import os
import sys
import time

from runstore.errors import RunStoreError

LET_GO_S = 0.05


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


def let_collectives_go() -> None:
    """Give gloo's threads time to drop what the last collectives of the run held.

    Such a thread takes the GIL for it; one that asks while the interpreter shuts down aborts the
    process, and torchrun then kills the other ranks (pytorch/pytorch#190489).
    """
    if world_size() > 1:
        time.sleep(LET_GO_S)
