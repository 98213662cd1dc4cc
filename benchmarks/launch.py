"""Run a program and record its wall time, CPU time and peak memory, as counted by the system.

It is a separate small process, because on Linux a program's peak memory starts at that of its parent. Where the
program has children, their memory is added to its own; Linux alone tells it.

    python -S launch.py USAGE.json PROGRAM ARGUMENT…
"""

import json
import os
import sys
import threading
import time

SAMPLE_S = 0.02


def main(output_file: str, *command: str) -> int:
    """Run the command, write its resource usage, and return its exit status."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)  # noqa: S606 - a list, not a shell command
    samples = [0]
    threading.Thread(target=_sample, args=(pid, samples), daemon=True).start()
    _, status, rusage = os.wait4(pid, 0)
    usage = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": rusage.ru_utime + rusage.ru_stime,
        "peak_mb": max(rusage.ru_maxrss * 1024, samples[0]) / 1e6,
    }
    with open(output_file, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would use more memory
        json.dump(usage, file)
    return os.waitstatus_to_exitcode(status)


def _sample(pid: int, samples: list[int]) -> None:
    """Keep the highest memory of a process and its children in the only element of a list, in bytes."""
    while True:
        time.sleep(SAMPLE_S)
        try:
            samples[0] = max(samples[0], _family_bytes(pid))
        except OSError:  # a process has just ended, or the system has no /proc
            continue


def _family_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - as below
        pages = int(file.read().split()[1])
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123 - as below
        children = file.read().split()
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(
        _family_bytes(int(child)) for child in children
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
