"""Figures are merged again after each campaign, since the page is rewritten while they run."""

from tests.verification.figures import Figures
from tests.verification.runner import merge_shares


def test_merging_shares_again_does_not_count_them_twice() -> None:
    shares = [Figures("one", tried=2, violations=["x"]), Figures("one", tried=3), Figures("other")]

    first, redeliveries = merge_shares(shares), merge_shares(shares)

    assert first == redeliveries == [Figures("one", tried=5, violations=["x"]), Figures("other")]
    assert shares[0].tried == 2
