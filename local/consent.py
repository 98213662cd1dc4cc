"""Show what would be sent to the real API and what it may cost, and ask for consent."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from functions.model.nouns import count_of, dollars
from local import interruption
from local.errors import LocalError

if TYPE_CHECKING:
    from cli.checking import Checked


def estimate(files: Sequence[Path]) -> str:
    """Return a line for each file: how many requests planning would send, and their cost."""
    from cli.checking import check  # noqa: PLC0415 - imports anthropic, for which the demo would wait a second

    return "\n".join(f"  {_describe(check(file))}" for file in files)


def consent(console: Console, env: Mapping[str, str], question: str) -> None:
    """Print the cost, and require consent at the terminal or by YES=1.

    Raises:
        LocalError: there is no terminal, or the answer is no.
    """
    console.print(question, markup=False, highlight=False, soft_wrap=True)
    if env.get("YES") == "1":
        return
    if not sys.stdin.isatty():
        error_message = (
            "nothing was sent: there is no terminal for the question; set YES=1 to agree"
        )
        raise LocalError(error_message)
    if not agrees(console, "Send them?"):
        error_message = "nothing was sent"
        raise LocalError(error_message)


def agrees(console: Console, question: str) -> bool:
    """Ask at the terminal."""
    with interruption.at_once():
        return console.input(f"{question} \\[y/N] ").strip().lower() in {"y", "yes"}


def _describe(checked: "Checked") -> str:
    name = Path(checked.file).name
    if checked.requests == 0:
        reason = checked.failure or checked.message or "no row can be sent"
        return f"{name}: nothing; {reason}"
    rejected = sum(kind.rows for kind in checked.rejected.values())
    parts = [f"{name}: {count_of(checked.requests, 'request')}"]
    if rejected:
        parts.append(f"{rejected:,} of {count_of(checked.rows, 'row')} rejected")
    return ", ".join((*parts, _cost(checked)))


def _cost(checked: "Checked") -> str:
    cost = (checked.estimate or {}).get("cost_usd") or {}
    if cost.get("worst") is None:
        return "at an unknown price"
    return f"at most {dollars(cost['worst'])}, if every answer takes its max_tokens"
