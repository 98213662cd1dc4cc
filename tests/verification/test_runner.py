"""What campaigns found, added up: the page is written again and again while they run."""

from tests.verification.figures import Figures
from tests.verification.runner import added


def test_shares_are_added_up_once_however_often_the_page_is_written() -> None:
    found = [Figures("one", tried=2, broken=["x"]), Figures("one", tried=3), Figures("other")]

    first, again = added(found), added(found)

    assert first == again == [Figures("one", tried=5, broken=["x"]), Figures("other")]
    assert found[0].tried == 2
