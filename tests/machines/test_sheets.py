"""The sheets of a course as they come out of a printer: a page for each seat, and a code that a telephone reads."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from operations.sheets import page

URL = "https://analysis.example.org:8443"
SEATS = {f"seat-{number:03}": f"abcdEFGH2345jk{number:02}" for number in range(1, 4)}


@pytest.fixture(scope="module")
def sheets() -> Iterator[Page]:
    """All of them, in a browser on an A4 page's width."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        window = chromium.new_page(viewport={"width": 794, "height": 1123})
        window.set_content(page(URL, SEATS))
        yield window
        chromium.close()


def test_each_seat_is_on_a_page_of_its_own(sheets: Page) -> None:
    printed = sheets.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == len(SEATS)


def test_the_code_leads_to_the_service(sheets: Page, tmp_path: Path) -> None:
    for number, sheet in enumerate(sheets.locator("section").all()):
        file = tmp_path / f"{number}.png"
        sheet.screenshot(path=file)
        read = subprocess.run(["zbarimg", "--quiet", "--raw", file], capture_output=True, text=True, check=True)
        assert read.stdout.strip() == URL


def test_a_person_reads_address_name_and_password(sheets: Page) -> None:
    for (name, password), sheet in zip(SEATS.items(), sheets.locator("section").all(), strict=True):
        assert sheet.locator("dd").all_inner_texts() == [URL, name, password]
