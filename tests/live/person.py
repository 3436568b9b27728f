"""A person in a browser: what they see and click, and nothing of how it works."""

import re
from pathlib import Path
from urllib.parse import quote, urlparse

from playwright.sync_api import Browser, Locator, Page, expect

_LAB_MS = 60_000
_CELL_MS = 90_000  # the first import of ROOT on a busy computer
_CLICK_MS = 15_000


class Person:
    """Someone with an account, in front of a browser window of their own."""

    def __init__(self, browser: Browser, url: str, name: str, password: str, *, pictures: Path | None = None) -> None:
        self.name = name
        self.url = url
        self._password = password
        self._pictures = pictures
        self._context = browser.new_context(viewport={"width": 1280, "height": 800})
        self._context.set_default_timeout(_CLICK_MS)
        self._context.set_default_navigation_timeout(_LAB_MS)
        self.page: Page = self._context.new_page()
        self.asked: set[str] = set()
        self.page.on("request", lambda request: self._note(urlparse(request.url).hostname))

    def close(self) -> None:
        """Closes the window; the session goes on."""
        self._context.close()

    def sign_in(self, password: str | None = None) -> None:
        """Signs in on the service's first page; what follows is the page of choices, the session, or the form again."""
        self.fill_in(password)
        self.picture("sign-in")
        self.submit()

    def fill_in(self, password: str | None = None) -> None:
        """Opens the service's first page and fills in the form there."""
        self.page.goto(self.url)
        self.fill_in_here(password)

    def fill_in_here(self, password: str | None = None) -> None:
        """Fills in the form to which the browser was sent: the hub's, or behind a button its provider's."""
        if (button := self.page.get_by_role("button", name=re.compile("^Sign in with"))).count():
            button.click()
        self.page.locator("input[name=username]").fill(self.name)
        self.page.locator("input[name=password]").fill(self._password if password is None else password)

    def submit(self) -> None:
        """Clicks on the form's button and waits for the answer."""
        with self.page.expect_navigation():
            self.page.locator("form input[type=submit], form button[type=submit]").click()

    def start(self, release: str | None = None) -> None:
        """Starts the session, or finds it running, and waits for JupyterLab with an empty desk.

        Args:
            release: Software, as the page of choices calls it; none: what is chosen there already.
        """
        lab = quote(f"/user/{self.name}/lab?reset", safe="")
        self.page.goto(f"{self.url}/hub/spawn?next={lab}")
        self.choose(release)
        self.wait_for_lab()

    def choose(self, release: str | None = None) -> None:
        """Chooses on the page before the session and clicks on Start; does nothing when another page is shown."""
        page = self.page.locator("#spawn_form")
        if page.count():
            if release:
                page.get_by_label(release).check()
            self.picture("choices")
            with self.page.expect_navigation():
                page.locator("[type=submit]").click()

    def wait_for_lab(self) -> None:
        """Waits until JupyterLab can be worked with."""
        self.page.wait_for_url(f"**/user/{self.name}/lab**", timeout=_LAB_MS)
        expect(self.page.locator("#jp-MainLogo")).to_be_visible(timeout=_LAB_MS)
        ready = self.page.locator(".jp-LauncherCard, .jp-Notebook").filter(visible=True)
        expect(ready.first).to_be_visible(timeout=_LAB_MS)

    def open_notebook(self, kernel: str) -> None:
        """A new notebook.

        Args:
            kernel: As the launcher calls it, for example "ROOT C++".
        """
        self._launch("Notebook", kernel)
        self._wait_for_kernel(kernel)

    def run_cell(self, code: str) -> Locator:
        """Types code into the notebook's last cell and runs it; returns its output, when the cell has ended."""
        ran = self.begin_cell(code)
        expect(ran.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=_CELL_MS)
        # What lies above or below the window is not laid out, and JSROOT does not draw there.
        ran.locator(".jp-Cell-outputWrapper").scroll_into_view_if_needed()
        return ran.locator(".jp-OutputArea-output")

    def begin_cell(self, code: str) -> Locator:
        """Types code into the notebook's last cell and runs it; returns the cell, and waits for nothing."""
        cell = self._notebook.locator(".jp-CodeCell").last
        number = self._notebook.locator(".jp-CodeCell").count() - 1
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)  # as pasted: the editor would indent and close brackets by itself
        self.page.keyboard.press("Shift+Enter")
        return self._notebook.locator(".jp-CodeCell").nth(number)

    def terminal(self, command: str) -> None:
        """Opens a terminal and types a command."""
        self._launch("Other", "Terminal")
        shell = self.page.locator(".jp-Terminal").filter(visible=True)
        expect(shell.locator(".xterm-screen")).to_be_visible()
        shell.locator(".xterm-helper-textarea").focus()
        self.page.keyboard.type(f"{command}\n")

    def file(self, name: str) -> Locator:
        """A file in the list of files."""
        return self.page.locator(".jp-DirListing-item").filter(
            has=self.page.locator(".jp-DirListing-itemText", has_text=re.compile(rf"^{re.escape(name)}$"))
        )

    def open_file(self, folder: str, name: str, kernel: str) -> None:
        """Opens a notebook of a folder of the home, and waits for its kernel, which is called as in the launcher."""
        self.file(folder).dblclick()
        self.file(name).dblclick()
        self._wait_for_kernel(kernel)

    def run_all_cells(self) -> None:
        """As the menu has it, when the kernel is there."""
        expect(self.page.get_by_role("button", name=re.compile(r"\| Idle$"))).to_be_visible(timeout=_LAB_MS)
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def stop(self) -> None:
        """Stops the session on the hub's page."""
        # The button does nothing before the page's scripts are there.
        self.page.goto(f"{self.url}/hub/home", wait_until="networkidle")
        self.page.locator("#stop").click()
        expect(self.page.locator("#start")).to_have_text(re.compile("start my server", re.IGNORECASE), timeout=_LAB_MS)

    def sign_out(self) -> None:
        """Signs out on the hub's page."""
        self.page.goto(f"{self.url}/hub/home")
        self.page.locator("#logout").click()
        expect(self.page.locator("input[name=username]")).to_be_visible()

    def picture(self, what: str) -> None:
        """Keeps a picture of the window, where pictures are wanted."""
        if self._pictures:
            self.page.screenshot(path=self._pictures / f"{what}.png")

    def _note(self, host: str | None) -> None:
        if host:  # a blob has none: it is the page's own
            self.asked.add(host)

    @property
    def _notebook(self) -> Locator:
        return self.page.locator(".jp-Notebook").filter(visible=True)

    def _wait_for_kernel(self, kernel: str) -> None:
        expect(self._notebook).to_be_visible(timeout=_LAB_MS)
        name = self.page.locator(".jp-Toolbar-kernelName").filter(visible=True)
        expect(name).to_contain_text(kernel, timeout=_LAB_MS)
        # Until the kernel is there a cell is only queued, and can lose what it was to print.
        idle = self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").filter(visible=True)
        expect(idle).to_be_visible(timeout=_CELL_MS)

    def _launch(self, section: str, title: str) -> None:
        """Opens a launcher and clicks on a card."""
        self.page.locator(".lm-TabBar-addButton").filter(visible=True).first.click()
        cards = self.page.locator(f".jp-LauncherCard[data-category='{section}']")
        # The whole word: R is not ROOT.
        label = self.page.locator(".jp-LauncherCard-label", has_text=re.compile(rf"^\s*{re.escape(title)}(?!\w)"))
        cards.filter(has=label, visible=True).first.click()
