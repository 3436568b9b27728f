"""What a scanner of web applications finds in the service's pages, as somebody who is signed in sees them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.scan import scan
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600, func_only=True)]


def test_nothing_above_low_is_found_in_the_hubs_pages(
    stack: LiveStack, visitor: Callable[[str], Visitor], tmp_path: Path
) -> None:
    physicist = visitor("physicist")
    assert physicist.sign_in().ok
    pages = ["/hub/home", "/hub/spawn", "/hub/token", "/hub/login?next=%2Fhub%2Fhome"]
    found = scan(f"{stack.url}/hub/", tmp_path, pages=pages, cookies=physicist.http.cookies)
    assert found.pages > len(pages)
    assert found.above_low == []


def test_nothing_above_low_is_found_in_the_page_of_files(
    stack: LiveStack, visitor: Callable[[str], Visitor], tmp_path: Path
) -> None:
    physicist = visitor("physicist")
    assert physicist.sign_in().ok
    page = physicist.http.get(f"{stack.parts['files']['url']}/", timeout=30)
    assert page.ok
    # Where that has led to: the cookies of the page are for what is below its own folder.
    found = scan(page.url, tmp_path, cookies=physicist.http.cookies)
    assert found.pages > 1
    assert found.above_low == []
