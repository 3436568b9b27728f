"""The page of files in a person's browser: what they see and click."""

import re
from urllib.parse import urlparse

from playwright.sync_api import FilePayload, Locator, Page, expect

_PAGE_MS = 30_000


class FilesPage:
    """The page in a window that shows it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def folder(self) -> str:
        """The address of the folder that is shown."""
        return self.page.url

    def file(self, name: str) -> Locator:
        """A file or folder in the list."""
        exactly = re.compile(rf"^{re.escape(name)}/?$")
        return self.page.locator("#files tbody tr").filter(has=self.page.locator("a", has_text=exactly))

    def share(self, name: str, minutes: int) -> str:
        """Makes a link to a file that lasts so long; returns its address."""
        self.file(name).locator("td").last.click()  # chooses it
        self.page.locator("#fshr").click()
        self.page.locator("#sh_exm").fill(str(minutes))
        self.page.locator("#sh_apply").click()
        told = self.page.locator("#modal")
        expect(told).to_contain_text("/files/share/", timeout=_PAGE_MS)
        link = next(word for word in told.inner_text().split() if "/files/share/" in word)
        self.page.locator("#modal-ng").click()
        return link

    def upload(self, name: str, content: bytes) -> None:
        """Chooses a file of one's own computer, and waits until it is in the list."""
        self.page.locator("#opa_bup").click()
        chosen: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        self.page.locator("#op_bup input[type=file]").set_input_files(chosen)
        with self.page.expect_navigation():
            self.page.locator("#op_bup input[type=submit]").click()

    def links(self) -> list[str]:
        """The names of one's links, on the page of links."""
        self.page.goto(f"{self._origin}/files/?shares")
        expect(self.page.locator("table")).to_be_visible()
        names: list[str] = self.page.locator("a[k]").evaluate_all("found => found.map(one => one.getAttribute('k'))")
        return names

    def revoke(self, link: str) -> None:
        """Deletes a link on the page of links."""
        key = urlparse(link).path.split("/")[3]
        assert key in self.links()
        self.page.locator(f"a[k='{key}']").click()
        expect(self.page.locator(f"a[k='{key}']")).to_have_count(0)

    @property
    def _origin(self) -> str:
        return "/".join(self.page.url.split("/")[:3])
