"""What each model accepts is data, pinned here to the reference's table."""

from datetime import date
from pathlib import Path

import pytest

from functions.model import capabilities
from functions.model.capabilities import (
    SAMPLING,
    Capabilities,
    capabilities_of,
    newest_list,
    takes_sampling,
)
from functions.model.pricing import newest_price_list
from functions.planning.validation import unsupported_params
from functions.translations.contract import Policy

# The reference. Efforts and "off at" name the highest level; sampling is that of API version 2023-06-01.
REFERENCE = """
model             | max out | thinks | off by        | off at | efforts  | default | forced tools | prefill | sampling | least cached
claude-fable-5-2  | 128000  | yes    | -             | -      | max      | high    | no           | no      | no       | 512
claude-mythos-5-2 | 128000  | yes    | -             | -      | max      | high    | no           | no      | no       | 512
claude-fable-5-1  | 128000  | yes    | -             | -      | max      | high    | no           | no      | no       | 512
claude-mythos-5-1 | 128000  | yes    | -             | -      | max      | high    | no           | no      | no       | 512
claude-opus-5-5   | 128000  | yes    | -             | -      | max      | medium  | no           | no      | no       | 512
claude-sonnet-5-5 | 128000  | yes    | between_tools | max    | max      | high    | no           | no      | no       | 512
claude-haiku-5-5  | 128000  | yes    | disabled      | medium | max      | medium  | yes          | no      | no       | 512
claude-fable-5    | 128000  | yes    | -             | -      | max      | high    | yes          | no      | no       | 512
claude-mythos-5   | 128000  | yes    | -             | -      | max      | high    | yes          | no      | no       | 512
claude-opus-5     | 128000  | yes    | disabled      | high   | max      | high    | yes          | no      | no       | 512
claude-sonnet-5   | 128000  | yes    | disabled      | max    | max      | high    | yes          | no      | no       | 1024
claude-opus-4-8   | 128000  | no     | -             | -      | max      | high    | yes          | no      | no       | 1024
claude-opus-4-7   | 128000  | no     | -             | -      | max      | high    | yes          | no      | no       | 2048
claude-opus-4-6   | 128000  | no     | -             | -      | no xhigh | high    | yes          | no      | yes      | 4096
claude-sonnet-4-6 | 128000  | no     | -             | -      | no xhigh | high    | yes          | no      | yes      | 1024
claude-opus-4-5   | 64000   | no     | -             | -      | high     | high    | yes          | yes     | yes      | 4096
claude-sonnet-4-5 | 64000   | no     | -             | -      | -        | high    | yes          | yes     | yes      | 1024
claude-haiku-4-5  | 64000   | no     | -             | -      | -        | high    | yes          | yes     | yes      | 4096
"""
LINES = [[cell.strip() for cell in line.split("|")] for line in REFERENCE.strip().splitlines()]
TABLE = {model: dict(zip(LINES[0][1:], cells, strict=True)) for model, *cells in LINES[1:]}
EFFORTS = ["low", "medium", "high", "xhigh", "max"]


def as_cells(found: Capabilities) -> dict[str, str]:
    def yes(fact: object) -> str:
        return "yes" if fact else "no"

    def highest(levels: tuple[str, ...]) -> str:
        if levels == ("low", "medium", "high", "max"):
            return "no xhigh"
        assert [*levels] == EFFORTS[: len(levels)]
        return levels[-1] if levels else "-"

    return {
        "max out": str(found.max_output_tokens),
        "thinks": yes(found.thinks_by_default),
        "off by": (found.thinking_off or {"type": "-"})["type"],
        "off at": highest(found.thinking_off_efforts),
        "efforts": highest(found.efforts),
        "default": found.default_effort,
        "forced tools": yes(found.forced_tool_choice),
        "prefill": yes(found.prefill),
        "sampling": yes(found.sampling),
        "least cached": str(found.least_cacheable_tokens),
    }


def known(model: str) -> Capabilities:
    found = capabilities_of(model)
    assert found is not None
    return found


@pytest.mark.parametrize("suffix", ["", "-20251001", "-latest"])
@pytest.mark.parametrize("model", TABLE)
def test_each_model_accepts_what_the_table_says(model: str, suffix: str) -> None:
    assert as_cells(known(model + suffix)) == TABLE[model]


def test_the_table_and_the_list_name_the_same_models() -> None:
    assert TABLE.keys() == newest_list().models.keys()


def test_each_model_with_a_price_is_known_or_retired() -> None:
    retired = {"claude-opus-4-1", "claude-sonnet-4", "claude-sonnet-4-0"}

    assert newest_price_list().models.keys() - retired <= TABLE.keys()


@pytest.mark.parametrize(
    "model", ["", "claude-opus-6", "gpt-4o", "claude-opus-5-5-2025", "claude"]
)
def test_an_unknown_model_has_no_capabilities(model: str) -> None:
    assert capabilities_of(model) is None


def test_an_unknown_model_is_taken_for_the_strictest() -> None:
    assert newest_list().unknown == known("claude-fable-5-2")


def test_only_models_before_4_6_need_a_budget_to_think() -> None:
    assert {model for model in TABLE if not known(model).adaptive} == {
        "claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5",
    }  # fmt: skip


@pytest.mark.parametrize("model", TABLE)
def test_no_model_takes_sampling_parameters_from_the_new_version_on(model: str) -> None:
    assert takes_sampling(known(model), "2023-06-01") is (TABLE[model]["sampling"] == "yes")
    assert not takes_sampling(known(model), "2026-10-21")
    assert not takes_sampling(known(model), "2027-01-01")


def test_only_one_model_is_about_to_retire() -> None:
    retiring = {model: known(model).retires for model in TABLE if known(model).retires}

    assert retiring == {"claude-sonnet-4-5": "2026-11-30"}
    assert {model for model in TABLE if known(model).lifecycle != "active"} == {*retiring}


@pytest.mark.parametrize("model", TABLE)
def test_what_turns_thinking_off_does_so_at_the_default_effort(model: str) -> None:
    found = known(model)

    assert (found.thinking_off is None) or found.default_effort in found.thinking_off_efforts


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-20", "2026-10-21", "2027-01-01"])
def test_validation_and_translations_agree_on_when_sampling_ended(version: str) -> None:
    takes = Policy(api_version=version).takes_sampling("claude-haiku-4-5")

    assert takes is (version < "2026-10-21")
    assert ({*SAMPLING} <= {*unsupported_params(version)}) is not takes


def test_the_list_names_its_file_its_day_and_its_sources() -> None:
    folder = Path(capabilities.__file__).parent / "capabilities"
    newest = max(file.stem for file in folder.iterdir())

    assert newest_list().version == newest
    assert date.fromisoformat(newest_list().day).strftime("%Y-%m") == newest
    assert any("platform.claude.com" in source for source in newest_list().sources)
