"""Run a program and record its wall time, CPU time and peak memory, as counted by the system.

It is a separate small process, because on Linux a program's peak memory starts at that of its parent.

    python -S launch.py USAGE.json PROGRAM ARGUMENT…
"""

import json
import os
import sys
import time


def main(output_file: str, *command: str) -> int:
    """Run the command, write its resource usage, and return its exit status."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)  # noqa: S606 - a list, not a shell command
    _, status, rusage = os.wait4(pid, 0)
    usage = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": rusage.ru_utime + rusage.ru_stime,
        "peak_mb": rusage.ru_maxrss * 1024 / 1e6,
    }
    with open(output_file, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would use more memory
        json.dump(usage, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
