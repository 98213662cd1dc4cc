"""The recording of a run: what a terminal shows, and when."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from local.recording import PICTURE, Terminal, VisibleLine, frames, to_svg, visible_lines

SVG = "{http://www.w3.org/2000/svg}"


def output(*parts: tuple[float, str]) -> Iterator[tuple[float, str]]:
    yield from parts


def test_a_live_line_is_overwritten() -> None:
    terminal = Terminal()

    terminal.feed("before\r\nwaiting\r\n")
    terminal.feed("\x1b[1A\x1b[2Kdone\r\n\x1b[?25h")

    assert terminal.screen() == ("before", "done")


def test_a_long_pause_is_shortened() -> None:
    screens = list(frames(output((1.0, "a\r\n"), (61.0, "b\r\n")), "make demo"))

    assert [second for second, _ in screens] == [0.0, 1.0, 2.5, 2.5]


def test_a_control_sequence_split_in_two_is_applied() -> None:
    *_, (_, screen) = frames(output((0.1, "a\x1b[1"), (0.2, "A\x1b[2Kb")), "make demo")

    assert screen == ("b", "a")


def test_a_line_is_visible_from_its_first_screen_to_its_last() -> None:
    lines = visible_lines(iter([(0.0, ("a",)), (1.0, ("a", "b")), (2.0, ("a", "c"))]))

    assert lines == [
        VisibleLine(1, "b", 1.0, 2.0),
        VisibleLine(0, "a", 0.0, None),
        VisibleLine(1, "c", 2.0, None),
    ]


def test_the_last_screen_is_visible_without_animation() -> None:
    lines = [VisibleLine(0, "gone", 0, 1), VisibleLine(0, "<last>", 1, None)]

    picture = ET.fromstring(to_svg(lines, "run"))  # noqa: S314 - ours

    visible = [
        "".join(text.itertext())
        for text in picture.iter(f"{SVG}text")
        if text.get("visibility") != "hidden"
    ]
    assert visible == ["<last>"]


def test_the_picture_of_the_readme_shows_a_completed_run() -> None:
    picture = ET.fromstring(PICTURE.read_bytes())  # noqa: S314  # ours

    text = "".join(picture.itertext())
    assert "job.completed" in text
    assert "37 of 41 rows succeeded" in text
