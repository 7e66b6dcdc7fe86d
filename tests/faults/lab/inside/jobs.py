"""What a guest can be asked to do, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.lab.inside import children, full_disk, nfs, power_loss

JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (
        power_loss.log_until_power_loss,
        power_loss.read_back,
        power_loss.replace_documents_until_power_loss,
        power_loss.read_documents_back,
        children.kill_while_logging,
        children.out_of_memory_while_logging,
        children.out_of_memory_under_exec,
        full_disk.full_disk,
        full_disk.over_quota,
        full_disk.error_once,
        nfs.export_full,
        nfs.server_stalls,
        nfs.unmounted,
        nfs.two_hosts_start,
        nfs.other_host_sees,
        nfs.killed_on_other_host,
        nfs.two_hosts_try_the_mount,
    )
}
