"""A batch script for Slurm that saves before its time is over, requeues itself and goes on.

What stands in the script was measured on Slurm 22.05; the reasons are comments of the script,
because its reader is the one who will change it.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.files.paths import slugify
from runstore.text import command_line

COMMENT_DIGITS = 12
REQUEUE_S = 15
"""What is left between the program's end and the time limit, to ask for the requeue."""
EARLY_S = 60
"""Slurm's clock for signals: one may come so much earlier than asked for (sbatch(1), --signal)."""
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")
BATCH_VALUE = re.compile(r"[^\s'\"\\#\x00-\x1f\x7f]+")
"""A value in a batch script: the rest sbatch would take for its end, or for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to ask Slurm for; None leaves it to the cluster."""

    name: str | None = None
    output: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    gpus: str | None = None
    cpus: str | None = None
    memory: str | None = None
    array: str | None = None
    comment: str | None = None
    root: str = "runs"
    signal_s: int = 120
    """Seconds before the time limit at which the program is asked to save and end."""


def batch_script(command: Sequence[str], job: Job) -> str:
    """Return the script that runs `command` as `job`.

    Raises:
        RunStoreError: a value has a character that sbatch would not take as part of it, or the
            time is not one, or too short.
    """
    run = _RUN_OF_JOB.format(root=_root(job.root))
    return _script(command, command_line(command), job, run, "each job is a run.", _AGAIN)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The arrays that a number of tasks is cut into, all of one length but for the last."""

    tasks: int
    length: int

    @classmethod
    def of(cls, tasks: int, at_most: int) -> Pieces:
        """Cut evenly, so that no more tasks than there are arrays have nothing to do."""
        count = max(1, math.ceil(tasks / at_most))
        return cls(tasks, math.ceil(tasks / count))

    @property
    def is_one(self) -> bool:
        """Whether one array takes all."""
        return self.length >= self.tasks

    def submitted(self, script: str) -> str:
        """Return the line of a shell that submits all arrays."""
        firsts = f"seq 0 {self.length} {self.tasks - 1}"
        return f"for first in $({firsts}); do sbatch {script} $first; done"


def sweep_script(
    sweep_dir: Path,
    cells: Sequence[str],
    command: Sequence[str],
    runner: str,
    job: Job,
    pieces: Pieces,
) -> str:
    """Return the script of an array whose tasks run the cells of a sweep.

    Args:
        sweep_dir: the sweep's directory.
        cells: the ids of its cells.
        command: the sweep's, with or without placeholders.
        runner: what runs the cell `$cell` of the directory `$sweep`, as the shell takes it.
        job: what to ask Slurm for; without `array`, all cells are asked for.
        pieces: the arrays that these are.

    Raises:
        RunStoreError: as for `batch_script`.
    """
    run = _RUN_OF_CELL.format(
        pieces="" if pieces.is_one else _SEVERAL.format(line=pieces.submitted("SCRIPT")),
        sweep=command_line([sweep_dir.absolute()]),
        cells="\n".join(f"  {shlex.quote(cell)}" for cell in cells),
        count=f"{len(cells):,}",
        last=len(cells) - 1,
        # The last array may be longer than what is left.
        status=1 if pieces.is_one else 0,
    )
    name = sweep_dir.name if job.name is None else job.name
    array = f"0-{pieces.length - 1}" if job.array is None else job.array
    what = "each task is a cell."
    job = replace(job, name=name, array=array, comment=comment_of(sweep_dir))
    return _script(command, runner, job, run, what, _AGAIN_CELL)


def comment_of(sweep_dir: Path) -> str:
    """Return what the jobs of a sweep's script are known by in the queue."""
    digest = hashlib.sha256(os.fsencode(sweep_dir.absolute())).hexdigest()
    return f"runstore-{digest[:COMMENT_DIGITS]}"


def _script(command: Sequence[str], line: str, job: Job, run: str, what: str, again: str) -> str:
    if job.time is not None:
        checked_limit_s(job.time, job.signal_s, option="--time", signal="--signal-seconds")
    uses_srun = Path(command[0]).name == "srun"
    return _TEMPLATE.format(
        what=what,
        directives="\n".join(f"#SBATCH {option}" for option in _directives(command, job)),
        signal_s=job.signal_s,
        grace_s=max(1, job.signal_s - REQUEUE_S),
        run=run,
        step_cpus=_STEP_CPUS if uses_srun and job.cpus else "",
        ask=_ASK_STEPS if uses_srun else _ASK_PROGRAM,
        command=line,
        again=again,
    )


def _directives(command: Sequence[str], job: Job) -> list[str]:
    name = job.name if job.name is not None else _name(command)
    output = "%x-%A_%a.out" if job.array else "%x-%j.out"
    options = {
        "job-name": name,
        "output": output if job.output is None else job.output,
        "array": job.array,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "gpus": job.gpus,
        "cpus-per-task": job.cpus,
        "mem": job.memory,
        "comment": job.comment,
    }
    return [f"--{key}={_whole(key, value)}" for key, value in options.items() if value is not None]


def _name(command: Sequence[str]) -> str:
    """Return the name of the script that is run, or of the program."""
    script = next((word for word in command if word.endswith(".py")), command[0])
    return slugify(Path(script).stem) or "runstore"


def _whole(option: str, value: str) -> str:
    if BATCH_VALUE.fullmatch(value) is None:
        raise RunStoreError(
            f"--{option} would be {value!r}: sbatch takes one word, without spaces and quotes"
        )
    return value


def _root(root: str) -> str:
    """Return the root as the script spells it: absolute, wherever the program goes."""
    word = command_line([root])
    return word if root.startswith("/") else f'"$PWD"/{word}'


def checked_limit_s(time: str, signal_s: int, *, option: str, signal: str) -> int:
    """Return a time limit in seconds, unless it is none, or leaves no time before the signal.

    Args:
        time: as for sbatch(1).
        signal_s: so long before it the program is asked to end.
        option: what it was given as.
        signal: what `signal_s` was given as.

    Raises:
        RunStoreError: it is refused.
    """
    limit_s = _seconds(time)
    if limit_s is None:
        raise RunStoreError(
            f"{option} is {time!r}, expected MINUTES, HOURS:MINUTES:SECONDS or "
            "DAYS-HOURS[:MINUTES[:SECONDS]], as for sbatch"
        )
    if limit_s < signal_s + 2 * EARLY_S:
        raise RunStoreError(
            f"{option} {time} is {limit_s} s; with {signal} {signal_s} the job would "
            f"be asked to end as soon as it begins: give it {signal_s + 2 * EARLY_S} s or more"
        )
    return limit_s


def _seconds(time: str) -> int | None:
    """Return a time limit as sbatch(1) reads it: what the fields mean depends on their number."""
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    fields = [int(field) for field in match["fields"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = (*fields, 0, 0)[:3]
        return ((int(match["days"]) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(fields) == 3:
        return (fields[0] * 60 + fields[1]) * 60 + fields[2]
    minutes, seconds = (*fields, 0)[:2]
    return minutes * 60 + seconds


_AGAIN = "RUNSTORE_RUN=$run_dir and the same command"
_AGAIN_CELL = "submit the script again"

_ASK_PROGRAM = """\
# SIGTERM, and only to the program itself: torchrun dies of USR1 and leaves its ranks behind. What
# starts the program (a shell script) must do it with `exec`, or pass SIGTERM on.
ask_to_end() { kill -TERM "$program"; }"""

_ASK_STEPS = """\
# SIGTERM to all tasks of the step. Not through srun: on SIGTERM it kills them.
ask_to_end() { scancel --signal=TERM "$job"; }"""

_STEP_CPUS = """
# srun does not take it from the job (since Slurm 22.05).
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
"""

_RUN_OF_JOB = """\
# runstore.init() goes on in this directory; it is the same at each start of this job.
run_dir={root}/slurm-"$job"
export RUNSTORE_RUN="$run_dir\""""

_SEVERAL = """\
# No array of this cluster has a task for each cell. Behind the script's name stands the number of
# the first cell: {line}
"""

_RUN_OF_CELL = """\
{pieces}# Each task runs one cell of the sweep. One that has finished ends at once.
sweep={sweep}
cells=(
{cells}
)
task=$((${{1:-0}} + ${{SLURM_ARRAY_TASK_ID:?submit this script with --array}}))
cell="${{cells[$task]:-}}"
if [ -z "$cell" ]; then
  echo "job $job: the sweep has {count} cells, the tasks are 0 to {last}" >&2
  exit {status}
fi
run_dir="$sweep/$cell\""""

_TEMPLATE = """\
#!/bin/bash
# Made by `runstore script`. Submit it with sbatch, as often as you like: {what}
# Before the time limit the program is asked to save a checkpoint and to end; then the job goes
# back into the queue, and its next start goes on in the same run directory.
{directives}
# A job that is requeued goes on in the same log.
#SBATCH --open-mode=append
# Slurm may requeue this job: below, after a preemption, and when a node fails.
#SBATCH --requeue
# So many seconds before the time limit (up to a minute more) this shell, and only it, gets USR1.
#SBATCH --signal=B:USR1@{signal_s}

# In an array each task is a run. Without its number, all tasks would be requeued.
job="$SLURM_JOB_ID"
if [ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]; then
  job="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi

{run}
# `runstore cancel` may cancel the job: it is this run's alone.
export RUNSTORE_SLURM_JOB="$job"
# torchrun would kill its ranks after 30 seconds, in the middle of a large checkpoint.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={grace_s}
{step_cpus}
{ask}
asked=
program=
trap 'asked=yes; echo "job $job: the time limit is near" >&2; ask_to_end' USR1
# scancel, preemption: Slurm has sent SIGTERM to the program too. Stay until it has saved.
trap 'echo "job $job: SIGTERM" >&2' TERM

# In the background: a shell runs no trap before its foreground program has ended.
{command} &
program=$!

# A signal ends `wait`, not the program.
wait "$program"
while [ -z "$asked" ] && kill -0 "$program" 2>/dev/null; do
  wait "$program"
done
# Once asked it has {grace_s} seconds. A requeue before its end would kill it while it saves.
for ((second = 0; second < {grace_s}; second++)); do
  kill -0 "$program" 2>/dev/null || break
  sleep 1
done
if kill -0 "$program" 2>/dev/null; then
  echo "job $job: the program did not end in time, and goes on from an earlier checkpoint" >&2
  status=1
else
  wait "$program"
  status=$?
fi
# In a partition with a GraceTime Slurm tells the tasks of an srun of a preemption, ends the job
# later, and requeues none that has ended by then.
if [ -z "$asked" ]; then
  case "$(scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null)" in
    *" JobState=RUNNING "*" PreemptTime="[0-9]*) asked=notice ;;
  esac
fi
[ -n "$asked" ] || exit "$status"

# It may have come to its own end just then: the newest attempt says so.
events=$(ls -t "$run_dir"/events-*.jsonl 2>/dev/null | head -n 1)
# Where no runstore.init wrote any, `runstore exec` may have.
[ -n "$events" ] || events=$(ls -t "$run_dir"/exec-*.jsonl 2>/dev/null | head -n 1)
case "$([ -z "$events" ] || tail -n 1 "$events")" in
  *'"status":"finished"'* | *'"status":"failed"'*) exit "$status" ;;
  "") [ "$asked$status" != notice0 ] || exit 0 ;;
esac
if ! scontrol requeue "$job"; then
  echo "job $job: not requeued; to go on: {again}" >&2
  [ "$status" -ne 0 ] || status=1
fi
exit "$status"
"""
