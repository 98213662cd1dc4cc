"""A job is priced by the newest price list at its claim, whatever is deployed before it ends."""

import msgspec
import pytest

from functions.model import pricing
from functions.model.items.counts import Usage
from tests.harness import Harness, make_upload

KEY = "in/march.jsonl"


def test_a_job_is_priced_by_the_list_current_at_its_claim(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy in the middle adds another price list, which does not affect this job."""
    relay.upload(KEY, make_upload(3))
    old_list = pricing.newest_price_list()
    new_list = msgspec.structs.replace(old_list, version="2099-01", batch=old_list.batch * 9)
    monkeypatch.setattr(
        pricing, "_lists", lambda: {old_list.version: old_list, new_list.version: new_list}
    )
    relay.finish()

    manifest = relay.manifest(KEY)
    (model,) = manifest["usage"]
    usage = msgspec.convert(manifest["usage"][model], Usage)
    assert manifest["prices"] == {
        "version": old_list.version,
        "source": old_list.source,
        "problem": None,
    }
    assert manifest["cost_usd"] == round(old_list.cost_usd(model, usage) or 0, 6)
    assert manifest["cost_usd"] != round(new_list.cost_usd(model, usage) or 0, 6)


def test_a_job_without_its_price_list_has_no_cost_and_gives_the_reason(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, make_upload(3))
    old_list = pricing.newest_price_list()
    new_list = msgspec.structs.replace(old_list, version="2099-01")
    monkeypatch.setattr(pricing, "_lists", lambda: {new_list.version: new_list})
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["cost_usd"] is None
    assert set(manifest["cost_usd_by_model"].values()) == {None}
    assert manifest["prices"]["version"] == old_list.version
    assert f"has no price list {old_list.version}" in manifest["prices"]["problem"]
    assert manifest["counts"] == {"succeeded": 3}
