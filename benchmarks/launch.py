"""Start one program and say what it took: wall and CPU seconds, and peak memory, as the system counted them.

It is a process of its own because of Linux: a program's peak begins at that of the process it was started from,
and this one is small.

    python -S launch.py TOLD.json PROGRAM ARGUMENT…
"""

import json
import os
import sys
import time


def main(output_file: str, *command: str) -> int:
    """Run the command to its end, and write what it took; gives its exit status."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell's string
    _, status, rusage = os.wait4(pid, 0)
    usage = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": rusage.ru_utime + rusage.ru_stime,
        "peak_mb": rusage.ru_maxrss * 1024 / 1e6,
    }
    with open(output_file, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is memory too
        json.dump(usage, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
