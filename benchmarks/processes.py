"""Processes of the benchmark: their usage, from /proc, and a stop that leaves none behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 1.0
"""Time to end by itself; there is nothing to save, and the end is not measured."""
_STAT_SESSION, _STAT_CPU = 3, slice(11, 15)
"""Fields of /proc/PID/stat after the name: session; ticks of user, system, reaped children."""


def machine_cpu_seconds() -> float:
    """Return the processor time of everything on this machine, including stolen time."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


class ProcessGroup:
    """Processes of one contestant or server, each in a session with its child processes."""

    def __init__(self, commands: Sequence[Sequence[str]], env: dict[str, str], log: Path) -> None:
        """Start the processes; their output goes to a file."""
        with log.open("ab") as output:
            self._processes = [
                subprocess.Popen(  # noqa: S603 - the benchmark's own commands
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for command in commands
            ]
        self.log = log

    def alive(self) -> bool:
        """Return True if all started processes run."""
        return all(process.poll() is None for process in self._processes)

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, of all processes since their start."""
        total = 0
        for pid, fields in self._members():
            ticks = [int(field) for field in fields[_STAT_CPU]]
            # Ticks of reaped children count if the parent is a started process.
            total += sum(ticks if pid in self._pids() else ticks[:2])
        return total / _TICKS

    def run_seconds(self) -> float:
        """Return the processor time of all threads that run now, to the nanosecond.

        For processes that do little: `cpu_seconds` counts ticks of 10 ms. Where the kernel has no
        such statistics, return `cpu_seconds`.
        """
        nanoseconds = 0
        for pid, _ in self._members():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):  # the thread has ended
                    nanoseconds += int(path.read_text().split()[0])
        return nanoseconds / 1e9 if nanoseconds else self.cpu_seconds()

    def count(self) -> int:
        """Count the processes, including their child processes."""
        return len(self._members())

    def memory_mb(self) -> float:
        """Return the resident memory of all in MB, with shared pages counted once (PSS)."""
        kilobytes = 0
        for pid, _ in self._members():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def stop(self) -> None:
        """Terminate the processes, and kill those that do not end in time."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for pid, _ in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _pids(self) -> set[int]:
        return {process.pid for process in self._processes}

    def _members(self) -> list[tuple[int, list[str]]]:
        """Return the pid and the stat fields of each process of these sessions."""
        members = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[_STAT_SESSION]) in self._pids():
                    members.append((int(path.parent.name), fields))
        return members
