"""A link in a mail: one click, and the notebook is open, in a session of the software that it was written for."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.live import git_host
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

READER = "neighbour"
PORT = 8443
REPOSITORY = f"https://localhost:{PORT}/course.git"
SOURCE = "import os; print(os.environ['CYGNET_VIEW'])"
NOTEBOOK = {
    "cells": [{"cell_type": "code", "id": "a", "source": SOURCE, "metadata": {}, "outputs": []}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}

# A session reaches nothing of ours but the hub: it has the git server itself, started with it, as a user may.
PREPARE = """
import json, os, pathlib, shutil, subprocess
home = pathlib.Path.home()
folder, work, config = home / "git-host", home / "git-host/work", home / ".jupyter/jupyter_server_config.py"
if {remove}:
    config.unlink(missing_ok=True)
    (home / ".gitconfig").unlink(missing_ok=True)
    for left in (folder, home / "course.git"):
        shutil.rmtree(left, ignore_errors=True)
else:
    work.mkdir(parents=True)
    (work / "hello.ipynb").write_text({notebook!r})
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for argv in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Say hello"]):
        subprocess.run(["git", *argv], cwd=work, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", work, folder / "course.git"], check=True)
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["git", "config", "--global", "http.sslCAInfo", folder / "cert.pem"], check=True)
    (folder / "host.py").write_text({host!r})
    config.parent.mkdir(exist_ok=True)
    config.write_text({config!r})
print("done")
"""
CONFIG = f"""
import pathlib, socket, subprocess, time
folder = pathlib.Path.home() / "git-host"
subprocess.Popen(["python3", folder / "host.py", folder, "{PORT}"], stderr=subprocess.DEVNULL)
for _ in range(100):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", {PORT})) == 0:
            break
    time.sleep(0.1)
"""


@pytest.fixture
def repository(visitor: Callable[[str], Visitor]) -> Iterator[None]:
    """A git repository with a notebook, which READER's next session can reach."""
    reader = visitor(READER)
    texts = {"notebook": json.dumps(NOTEBOOK), "host": Path(git_host.__file__).read_text(), "config": CONFIG}
    reader.start()
    try:
        assert reader.run(PREPARE.format(remove=False, **texts)) == "done\n"
        reader.stop()
        yield
    finally:
        reader.stop()
        reader.start()
        assert reader.run(PREPARE.format(remove=True, **texts)) == "done\n"
        reader.stop()


def link(stack: LiveStack, **said: str) -> str:
    """As `cygnet link` writes it."""
    query = {"repo": REPOSITORY, "urlpath": "lab/tree/course.git/hello.ipynb", **said}
    return f"{stack.url}/hub/user-redirect/git-pull?{urlencode(query)}"


@pytest.mark.usefixtures("repository")
def test_a_link_opens_a_notebook_with_the_software_that_it_names(
    stack: LiveStack, person: Callable[..., Person]
) -> None:
    releases = stack.parts["software"]["releases"]
    if len(releases) < 2:
        pytest.skip(f"the stack '{stack.name}' leaves nothing to choose")
    usual, other = releases[:2]
    reader = person(READER)
    reader.page.goto(link(stack, release=other["name"]))
    reader.fill_in_here()
    reader.submit()
    expect(reader.page).to_have_url(re.compile(r"/lab/tree/course\.git/hello\.ipynb"), timeout=90_000)
    reader.wait_for_lab()
    expect(reader.page.locator(".jp-Notebook .cm-content").first).to_contain_text(SOURCE)
    reader.picture("link")
    reader.run_all_cells()
    expect(reader.page.locator(".jp-Notebook .jp-OutputArea-output").first).to_contain_text(f"/{other['name']}-")

    reader.page.goto(link(stack, release=usual["name"]))
    expect(reader.page.get_by_text(f"This link is for {usual['title']}")).to_be_visible()
    reader.picture("link-for-another-release")
    reader.page.get_by_role("link", name="open it in the session that runs").click()
    expect(reader.page).to_have_url(re.compile(r"/lab/tree/course\.git/hello\.ipynb"), timeout=90_000)

    reader.page.goto(link(stack, targetpath=".ipython"))
    expect(reader.page.get_by_text("A link may not bring files to '.ipython'")).to_be_visible()
