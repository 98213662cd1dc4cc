"""Recorded inputs: `corpus/<target>.txt`, one a line, as Python writes bytes. `words.dict` is what fuzzing puts in.

>>> python -m tests.verification.fuzz.corpus reader FOLDER  # record the inputs of a folder that are not recorded yet
"""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent / "corpus"
WORDS = HERE / "words.dict"
LONGEST, MOST = 400, 120
"""What is recorded is for people too: short inputs, and not too many."""


def recorded(target: str) -> list[bytes]:
    """Read a target's inputs."""
    lines = (HERE / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines]


def unpack(target: str, folder: Path) -> None:
    """Write a target's inputs as the files that libFuzzer begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(recorded(target)):
        (folder / f"seed-{number:03d}").write_bytes(seed)


def record(target: str, seeds: Iterable[bytes]) -> int:
    """Add inputs to a target's; gives how many it has now."""
    file = HERE / f"{target}.txt"
    known = recorded(target) if file.exists() else []
    short = (seed for seed in seeds if len(seed) <= LONGEST)
    kept = [*dict.fromkeys([*known, *sorted(short, key=len)])][: max(MOST, len(known))]
    file.write_text("".join(f"{seed!r}\n" for seed in kept), encoding="ascii")
    return len(kept)


if __name__ == "__main__":
    name, found = sys.argv[1], Path(sys.argv[2])
    print(name, record(name, (file.read_bytes() for file in found.iterdir())))  # noqa: T201 - a command
