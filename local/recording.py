"""Record the demo for the README: ``make recording`` runs it and draws its terminal.

The run is real, in a pseudo-terminal. The SVG plays once and then shows the last screen; a viewer
without SMIL shows only the last screen. Pauses without a change are shortened to 1.5 seconds, and
long lines end in an ellipsis.
"""

import os
import pty
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
COLUMNS, ROWS = 120, 60
PAUSE_S = 1.5
FRAME_S = 0.2
CHARACTER_PX, LINE_PX, MARGIN_PX, TITLE_PX = 8.4, 18, 16, 30

type Screen = tuple[str, ...]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[\?25[lh]|\x1b\[[0-2]?K|\x1b\[(\d*)A|\r|\n")


@dataclass
class Terminal:
    """The lines of a terminal; supports the control sequences of rich's live display."""

    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0

    def feed(self, text: str) -> None:
        """Apply the output of a program. A control sequence must be complete."""
        shown_to = 0
        for control in _CONTROL.finditer(text):
            self.lines[self.row] += text[shown_to : control.start()]
            shown_to = control.end()
            self._apply_control(control)
        self.lines[self.row] += text[shown_to:]

    def _apply_control(self, control: re.Match[str]) -> None:
        match control[0][-1]:
            case "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            case "A":
                self.row = max(0, self.row - int(control[1] or 1))
            case "K":
                self.lines[self.row] = ""

    def screen(self) -> Screen:
        """Return the visible lines, without empty lines at the end."""
        lines = list(self.lines)
        while lines and not lines[-1].strip():
            lines.pop()
        return tuple(lines)


@dataclass(frozen=True)
class VisibleLine:
    """A line that is visible for a time; `until_s` is None if it stays."""

    row: int
    text: str
    from_s: float
    until_s: float | None


def record(command: list[str]) -> Iterator[tuple[float, str]]:
    """Run a program in a pseudo-terminal. Yield its output with the time in seconds.

    Raises:
        SystemExit: the program failed.
    """
    size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], command, os.environ | size)  # noqa: S606  # a list made here
    started = time.monotonic()
    with suppress(OSError):  # EIO: the program has ended
        while read := os.read(terminal, 65_536):
            yield time.monotonic() - started, read.decode(errors="replace")
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"the demo failed with exit code {code}")


def frames(output: Iterator[tuple[float, str]], prompt: str) -> Iterator[tuple[float, Screen]]:
    """Convert output to screens, each with the second at which it appears."""
    terminal = Terminal()
    terminal.feed(f"\x1b[1;32m$\x1b[0m \x1b[1m{prompt}\x1b[0m\n")
    shown_s, changed_s, incomplete = 0.0, 0.0, ""
    last = terminal.screen()
    yield shown_s, last
    for second, text in output:
        complete, incomplete = _split_complete(incomplete + text)
        terminal.feed(complete)
        screen = terminal.screen()
        if _visible_text(screen) != _visible_text(last):
            shown_s += min(second - changed_s, PAUSE_S)
            changed_s, last = second, screen
            yield shown_s, screen
    yield shown_s, terminal.screen()


def _visible_text(screen: Screen) -> str:
    return _STYLE.sub("", "\n".join(screen))


def _split_complete(text: str) -> tuple[str, str]:
    """Split off an incomplete control sequence at the end."""
    before, escape_character, tail = text.rpartition("\x1b")
    if escape_character and not re.search(r"[A-Za-z]", tail):
        return before, escape_character + tail
    return text, ""


def visible_lines(screens: Iterator[tuple[float, Screen]]) -> list[VisibleLine]:
    """Convert screens to lines with the time for which each is visible."""
    lines: list[VisibleLine] = []
    open_: dict[int, tuple[str, float]] = {}
    for second, screen in _limit_frame_rate(screens):
        for row in range(max(len(screen), max(open_, default=-1) + 1)):
            text = screen[row] if row < len(screen) else ""
            before = open_.get(row, ("", 0.0))
            if text == before[0]:
                continue
            if before[0]:
                lines.append(VisibleLine(row, before[0], before[1], second))
            open_[row] = (text, second)
    lines += [
        VisibleLine(row, text, from_s, None) for row, (text, from_s) in open_.items() if text
    ]
    return lines


def _limit_frame_rate(screens: Iterator[tuple[float, Screen]]) -> Iterator[tuple[float, Screen]]:
    """Keep the last screen of each frame of 0.2 seconds."""
    latest: tuple[float, Screen] | None = None
    for second, screen in screens:
        if latest and int(second / FRAME_S) != int(latest[0] / FRAME_S):
            yield latest
        latest = second, screen
    if latest:
        yield latest


def to_svg(lines: Sequence[VisibleLine], title: str) -> str:
    """Render the lines as an SVG."""
    width = COLUMNS * CHARACTER_PX + 2 * MARGIN_PX
    height = (max(line.row for line in lines) + 1) * LINE_PX + 2 * MARGIN_PX + TITLE_PX
    theme = SVG_EXPORT_THEME
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;"
        f"white-space:pre;fill:{theme.foreground_color.hex}}}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{theme.background_color.hex}"/>\n'
        '<g><circle cx="20" cy="18" r="6" fill="#ff5f57"/><circle cx="40" cy="18" r="6" '
        'fill="#febc2e"/><circle cx="60" cy="18" r="6" fill="#28c840"/></g>\n'
    )
    body = "\n".join(map(_line, sorted(lines, key=lambda line: (line.from_s, line.row))))
    return f"{head}{body}\n</svg>\n"


def _line(line: VisibleLine) -> str:
    y = TITLE_PX + MARGIN_PX + (line.row + 1) * LINE_PX - 5
    text = "".join(_spans(line.text))
    element = f'<text x="{MARGIN_PX}" y="{y}"'
    set_visibility = '<set attributeName="visibility"'
    if line.until_s is not None:
        times = f'begin="{line.from_s:.1f}s" end="{line.until_s:.1f}s"'
        return (
            f'{element} visibility="hidden">{set_visibility} to="visible" {times}/>{text}</text>'
        )
    if line.from_s == 0:
        return f"{element}>{text}</text>"
    return f'{element}>{set_visibility} to="hidden" begin="0s" end="{line.from_s:.1f}s"/>{text}</text>'


def _spans(line: str) -> Iterator[str]:
    decoded = AnsiDecoder().decode_line(line)
    decoded.rstrip()
    decoded.truncate(COLUMNS, overflow="ellipsis")
    for part, style, _ in decoded.render(Console(width=COLUMNS)):
        attributes = _color(style.color if style else None)
        attributes += ' font-weight="bold"' if style and style.bold else ""
        attributes += ' opacity="0.6"' if style and style.dim else ""
        text = escape(part)
        yield f"<tspan{attributes}>{text}</tspan>" if attributes else text


def _color(color: Color | None) -> str:
    if color is None or color.is_default:
        return ""
    return f' fill="{color.get_truecolor(SVG_EXPORT_THEME).hex}"'


def main() -> None:
    """Record the demo and write its picture."""
    output = record([sys.executable, "-m", "local", "run"])
    PICTURE.write_text(
        to_svg(visible_lines(frames(output, "make demo")), "make demo, in a terminal"),
        encoding="utf-8",
    )
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
