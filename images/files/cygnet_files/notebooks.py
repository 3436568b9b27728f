"""The preview of notebooks: a page of what is in one, made by nbconvert.

It knows no files: it asks copyparty for the notebook in the words of whoever asks for the preview, and copyparty
decides whether they may read it. Nothing in the page runs: the browser is told to let no script, frame or foreign
picture in.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import nbformat
from nbconvert import HTMLExporter
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.web import Application, HTTPError, RequestHandler

LARGEST_BYTES = 32 * 2**20
SECONDS = 30
POLICY = "sandbox; default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'"


class Preview(RequestHandler):
    """Answers for every notebook at the path that it has on the page of files."""

    def initialize(self, files: str) -> None:
        """`files` is copyparty's address."""
        self.files = files

    async def get(self) -> None:
        """The preview; the file itself, if it cannot be shown; or what copyparty said in its place."""
        headers = {name: value for name, value in self.request.headers.get_all() if name.startswith("X-")}
        try:
            # The path alone: what else is asked for concerns the preview.
            where = f"{self.files}{self.request.path}"
            found = await AsyncHTTPClient().fetch(where, headers=headers, follow_redirects=False)
        except HTTPClientError as error:
            raise HTTPError(error.code if error.code in (403, 404) else 502) from None
        name = self.request.path.rpartition("/")[2]
        try:
            # Beside the loop, so that a large notebook does not hold up the others.
            text = await asyncio.wait_for(asyncio.to_thread(page, found.body.decode(), name), SECONDS)
        except Exception:  # a notebook is whatever somebody wrote into a file of that name
            logging.getLogger("preview").warning("%s is not shown", self.request.path, exc_info=True)
            self.redirect(f"{self.request.path}?dl")
            return
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.write(text)


def page(notebook: str, name: str) -> str:
    """A notebook as HTML. Raises whatever nbformat and nbconvert come across in it."""
    read = nbformat.reads(notebook, as_version=4)
    made: str = HTMLExporter(mathjax_url="", require_js_url="").from_notebook_node(
        read, resources={"metadata": {"name": name}}
    )[0]
    return made


def application(files: str) -> Application:
    """The preview of notebooks that copyparty at the address `files` has."""
    AsyncHTTPClient.configure(None, max_body_size=LARGEST_BYTES)
    rule = (r".*\.ipynb", Preview, {"files": files})
    return Application([rule], log_function=lambda _handler: None)


async def main(port: int, files: str) -> None:
    """Serves until it is ended."""
    application(files).listen(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
