"""Start one program and say what it took: wall and CPU seconds, and peak memory, as the system counted them.

It is a process of its own because of Linux: a program's peak begins at that of the process it was started from,
and this one is small.

    python -S launch.py TOLD.json PROGRAM ARGUMENT…
"""

import json
import os
import sys
import time


def main(told: str, *command: str) -> int:
    """Run the command to its end, and write what it took; gives its exit status."""
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell's string
    _, status, used = os.wait4(pid, 0)
    took = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }
    with open(told, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is memory too
        json.dump(took, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
