"""Recorded inputs: `corpus/<target>.txt`, one a line, as Python writes bytes. `words.dict` is what fuzzing puts in.

>>> python -m tests.verification.fuzz.corpus reader FOLDER  # record the inputs of a folder that are not recorded yet
"""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
DICTIONARY = FOLDER / "words.dict"
MAX_SEED_BYTES, MAX_SEEDS = 400, 120
"""What is recorded is for people too: short inputs, and not too many."""


def read_seeds(target: str) -> list[bytes]:
    """Read a target's inputs."""
    lines = (FOLDER / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines]


def unpack(target: str, folder: Path) -> None:
    """Write a target's inputs as the files that libFuzzer begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(read_seeds(target)):
        (folder / f"seed-{number:03d}").write_bytes(seed)


def record(target: str, seeds: Iterable[bytes]) -> int:
    """Add inputs to a target's; gives how many it has now."""
    file = FOLDER / f"{target}.txt"
    existing = read_seeds(target) if file.exists() else []
    short_seeds = (seed for seed in seeds if len(seed) <= MAX_SEED_BYTES)
    seeds_kept = [*dict.fromkeys([*existing, *sorted(short_seeds, key=len)])][
        : max(MAX_SEEDS, len(existing))
    ]
    file.write_text("".join(f"{seed!r}\n" for seed in seeds_kept), encoding="ascii")
    return len(seeds_kept)


if __name__ == "__main__":
    name, found_folder = sys.argv[1], Path(sys.argv[2])
    print(name, record(name, (file.read_bytes() for file in found_folder.iterdir())))  # noqa: T201 - a command
