"""A job is priced by the list that was the newest when it was claimed, whatever is deployed until it ends."""

import msgspec
import pytest

from functions.model import pricing
from functions.model.items import Usage
from tests.harness import Harness, upload_of

KEY = "in/march.jsonl"


def test_a_job_is_priced_by_the_list_that_it_was_claimed_under(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy in the middle brings another list: for this job, nothing changes."""
    relay.upload(KEY, upload_of(3))
    old, dearer = pricing.newest_price_list(), {}
    for model, price in old.models.items():
        dearer[model] = msgspec.structs.replace(price, input=price.input * 9)
    new = msgspec.structs.replace(old, version="2099-01", models=dearer)
    monkeypatch.setattr(pricing, "_lists", lambda: {old.version: old, new.version: new})
    relay.finish()

    manifest = relay.manifest(KEY)
    (model,) = manifest["usage"]
    used = msgspec.convert(manifest["usage"][model], Usage)
    assert manifest["prices"] == {"version": old.version, "source": old.source, "problem": None}
    assert manifest["cost_usd"] == round(old.cost_usd(model, used) or 0, 6)
    assert manifest["cost_usd"] != round(new.cost_usd(model, used) or 0, 6)


def test_a_job_whose_price_list_is_gone_has_no_price_and_says_why(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, upload_of(3))
    old = pricing.newest_price_list()
    new = msgspec.structs.replace(old, version="2099-01")
    monkeypatch.setattr(pricing, "_lists", lambda: {new.version: new})
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["cost_usd"] is None
    assert set(manifest["cost_usd_by_model"].values()) == {None}
    assert manifest["prices"]["version"] == old.version
    assert f"has no price list {old.version}" in manifest["prices"]["problem"]
    assert manifest["counts"] == {"succeeded": 3}
