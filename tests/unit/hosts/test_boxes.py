"""What `nvidia-smi`, `ps` and `/proc` print, as machines were seen to print it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.hosts.boxes import NO_GPU_PROGRAM, SCRIPT, Gpu, GpuProcess, Machine, parse

HEAD = """\
Welcome to the cluster! @load is not a line of ours
@name
gpu-07
@load
12.34 10.01 9.00 3/2345 4711
@cores
64
@memory
MemTotal:       528280956 kB
MemAvailable:   104857600 kB
"""
A100 = """\
@gpus
GPU-5a1e, 0, NVIDIA A100-SXM4-80GB, 81920, 4, 0
GPU-77b0, 1, NVIDIA A100-SXM4-80GB, 81920, 63488, 97
@status 0
@apps
GPU-77b0, 3317, 61440
GPU-77b0, 3318, 2040
@processes
   3317    3300 alice                            python train.py --name "a, b"
   3318       1 bob_with_a_long_name             /opt/conda/bin/python -c pass
@end
"""


def machine(output: str) -> Machine:
    found = parse(output)
    assert found is not None
    return found


def test_free_and_busy_gpus_with_their_processes() -> None:
    found = machine(HEAD + A100)
    assert (found.name, found.load, found.cores) == ("gpu-07", 12.34, 64)
    assert found.memory_gib == pytest.approx(503.8, abs=0.1)
    assert found.available_gib == 100.0
    assert (found.free_gpus, len(found.gpus), found.gpu_problem) == (1, 2, "")
    free, busy = found.gpus
    assert free == Gpu(0, "NVIDIA A100-SXM4-80GB", 81920, 4, 0)
    assert busy.processes == (
        GpuProcess(3317, "alice", 'python train.py --name "a, b"', 61440, 3300),
        GpuProcess(3318, "bob_with_a_long_name", "/opt/conda/bin/python -c pass", 2040, 1),
    )


@pytest.mark.parametrize(
    ("row", "gpu"),
    [
        # Jetson and GB10 boards have no memory of their own; MIG tells no load; old cards neither.
        ("G, 0, Orin (nvgpu), [N/A], [N/A], [N/A]", Gpu(0, "Orin (nvgpu)")),
        (
            "G, 3, NVIDIA H100 80GB HBM3, 81559, 12, [N/A]",
            Gpu(3, "NVIDIA H100 80GB HBM3", 81559, 12),
        ),
        (
            "G, 0, GeForce GT 710, 2002, [Not Supported], [Not Supported]",
            Gpu(0, "GeForce GT 710", 2002),
        ),
        ("G, 1, T4, [Insufficient Permissions], 0, 0", Gpu(1, "T4", None, 0, 0)),
    ],
)
def test_what_a_gpu_does_not_tell_is_none(row: str, gpu: Gpu) -> None:
    assert machine(f"{HEAD}@gpus\n{row}\n@status 0\n@apps\n@end\n").gpus == (gpu,)


def test_gpu_is_free_by_its_memory_where_processes_are_hidden() -> None:
    """As from inside a container, where nvidia-smi shows nobody's."""
    assert Gpu(0, "x", 81920, 1000).is_free
    assert not Gpu(0, "x", 81920, 3000).is_free
    assert Gpu(0, "x", 8192, 400).is_free
    assert not Gpu(0, "x", 81920, 10, processes=(GpuProcess(1),)).is_free
    assert Gpu(0, "x").is_free


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("@status none", NO_GPU_PROGRAM),
        ("No devices were found\n@status 6", "No devices were found"),
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n@status 9",
            "NVIDIA-SMI has failed because it couldn't communicate with the driver.",
        ),
        ("@status 124", "nvidia-smi has failed (124)"),
    ],
)
def test_machine_without_gpus_says_why(said: str, problem: str) -> None:
    found = machine(f"{HEAD}@gpus\n{said}\n@end\n")
    assert (found.gpus, found.gpu_problem) == ((), problem)


def test_machine_without_proc_has_neither_load_nor_memory() -> None:
    found = machine("@name\nmac\n@load\n@cores\n10\n@memory\n@gpus\n@status none\n@end\n")
    assert found == Machine("mac", cores=10, gpu_problem=NO_GPU_PROGRAM)


def test_process_that_ps_does_not_show_has_a_number_alone() -> None:
    output = HEAD + A100.partition("@processes")[0] + "@end\n"
    assert machine(output).gpus[1].processes[0] == GpuProcess(3317, used_mib=61440)


@pytest.mark.parametrize("output", ["", "@end", "fish: Unknown command", HEAD, "@name\n@load\n"])
def test_output_that_was_cut_short_is_none(output: str) -> None:
    assert parse(output.removesuffix("@end")) is None


@given(st.text(alphabet=st.sampled_from("@abcdefgpusnl,:0123456789\n []\x1b"), max_size=300))
def test_nothing_that_a_machine_prints_is_a_traceback_or_reaches_the_terminal(text: str) -> None:
    found = parse(f"{HEAD}@gpus\n{text}\n@end\n")
    assert found is None or "\x1b" not in repr(found).replace("\\x1b", "")
    assert found is None or all("\x1b" not in gpu.name for gpu in found.gpus)


def test_script_asks_this_machine(tmp_path: Path) -> None:
    """By a real shell and real `ps`, and an nvidia-smi that says who is on it."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"""#!/bin/sh
case "$*" in
--query-gpu=*noheader,nounits) echo 'GPU-1, 0, Test GPU, 1000, 900, 50';;
--query-compute-apps=*noheader,nounits) echo 'GPU-1, {os.getpid()}, 800';;
*) exit 2;;
esac
"""
    )
    program.chmod(0o755)
    done = subprocess.run(
        ["sh"],
        input=SCRIPT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    found = machine(done.stdout)
    assert found.name == os.uname().nodename
    (process,) = found.gpus[0].processes
    assert (process.pid, process.used_mib, process.parent) == (os.getpid(), 800, os.getppid())
    assert process.user
    assert "pytest" in process.command or "python" in process.command
    assert found.cores
    if Path("/proc/meminfo").exists():
        assert found.load is not None
        assert found.memory_gib
