"""What users install for themselves: it comes first, stays, and breaks neither another release nor the session."""

import json
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.wheels import uploads, wheel

OWNER = "physicist"
# A user's own kernel: a folder with a kernel.json and what that starts.
KERNEL = """
folder={folder}/kernels/{name}; mkdir -p $folder
cat > $folder/kernel.json << 'END'
{{"argv": ["bash", "{{resource_dir}}/setup.sh", "{{connection_file}}"],
 "display_name": "{title}", "language": "python"}}
END
cat > $folder/setup.sh << 'END'
set -e
. {view}/setup.sh
exec python3 -m ipykernel_launcher -f "$1"
END
"""
OWN, OF_A_GROUP = "~/.local/share/jupyter", "/eos/atlas/jupyter"
# A package that releases have, too, and ones that the notebook server is made of, in versions that do not work.
BROKEN = "raise ImportError('this version does not work')"
ENABLE = '{"ServerApp": {"jpserver_extensions": {"jupyterlab": false, "broken": true}}}'
WHEELS = {
    "vector-99-py3-none-any.whl": wheel(
        "vector",
        "99",
        {"vector.py": "__version__ = '99'\ndef tell(): print('mine')\n"},
        programs={"tell": "vector:tell"},
    ),
    **{
        f"{name}-1-py3-none-any.whl": wheel(
            name,
            "1",
            {
                f"{name}/__init__.py": BROKEN,
                f"{name}-1.data/data/etc/jupyter/jupyter_server_config.d/{name}.json": ENABLE,
            },
            programs={f"{name.replace('_', '-')}-singleuser": f"{name}:main"},
        )
        for name in ("jupyter_server", "jupyterhub", "jupyterlab", "nbgitpuller")
    },
}
PIP = "pip install --user --quiet --no-index --no-deps --find-links ~/wheels "
WHICH = "import vector; print(vector.__version__, vector.__file__)"


@pytest.fixture
def releases(stack: LiveStack) -> list[Mapping[str, str]]:
    """Two that the stack offers."""
    offered: list[Mapping[str, str]] = stack.parts["software"]["releases"]
    if len(offered) < 2:
        pytest.skip(f"the stack '{stack.name}' leaves nothing to choose")
    return offered[:2]


@pytest.fixture
def owner(visitor: Callable[[str], Visitor], releases: list[Mapping[str, str]]) -> Iterator[Visitor]:
    """Somebody with wheels in their home, in a session with the first release; what they install is taken away."""
    made = visitor(OWNER)
    made.start(release=releases[0]["name"])
    made.api("PUT", f"/user/{OWNER}/api/contents/wheels", json={"type": "directory"}).raise_for_status()
    for name, content in uploads(WHEELS).items():
        made.api("PUT", f"/user/{OWNER}/api/contents/wheels/{name}", json=content).raise_for_status()
    yield made
    shell(made, "rm -r ~/wheels ~/.local/cygnet ~/envs ~/.local/share/jupyter/kernels 2>/dev/null || true")


def shell(visitor: Visitor, command: str, *, login: bool = False) -> str:
    """What a command says, run from a notebook, or as in a terminal."""
    argv = ["bash", "-lc" if login else "-c", f"set -e; {command}"]
    code = "import subprocess; done = subprocess.run({}, capture_output=True, text=True); print(done.stdout, end='')"
    code += "\nif done.returncode: raise SystemError(done.stderr)"
    return visitor.run(code.format(argv), seconds=120)


def anew(visitor: Visitor, release: Mapping[str, str]) -> None:
    """Another session."""
    visitor.stop()
    visitor.start(release=release["name"])


def test_a_users_package_takes_the_place_of_a_releases_in_that_release(
    owner: Visitor, releases: list[Mapping[str, str]]
) -> None:
    first, second = releases
    before = owner.run(WHICH)
    assert before.split()[1].startswith(f"{first['view']}-")
    shell(owner, f"{PIP} vector==99")
    for another_session in (False, True):
        if another_session:
            anew(owner, first)
        version, file = owner.run(WHICH).split()
        assert version == "99"
        assert "/.local/cygnet/" in file
        assert shell(owner, "tell") == shell(owner, "tell", login=True) == "mine\n"
        listed = {one["name"]: one["version"] for one in json.loads(shell(owner, "pip list --format=json"))}
        assert listed["vector"] == "99"
        assert {"numpy", "ipykernel"} <= set(listed)
    anew(owner, second)
    assert owner.run(WHICH).split()[1].startswith(f"{second['view']}-")
    assert shell(owner, "pip list --user --format=json") == "[]\n"
    assert "command not found" in shell(owner, "tell 2>&1 || true")
    anew(owner, first)
    shell(owner, "pip uninstall --yes --quiet vector")
    assert owner.run(WHICH) == before


def test_a_user_cannot_lock_themselves_out(owner: Visitor, releases: list[Mapping[str, str]]) -> None:
    shell(owner, f"{PIP} jupyter_server==1 jupyterhub==1 jupyterlab==1 nbgitpuller==1")
    with pytest.raises(Exception, match="this version does not work"):
        owner.run("import jupyter_server")
    anew(owner, releases[0])
    assert owner.api("GET", f"/user/{OWNER}/lab").status_code == 200
    assert owner.api("GET", f"/user/{OWNER}/git-pull?repo=file:///etc").status_code == 403
    shell(owner, "pip uninstall --yes --quiet jupyter_server jupyterhub jupyterlab nbgitpuller", login=True)
    assert owner.run("import jupyter_server; print(jupyter_server.version_info[0] >= 2)") == "True\n"


def test_virtual_environments_are_kernels_in_every_session(owner: Visitor, releases: list[Mapping[str, str]]) -> None:
    shell(owner, "python -m venv --system-site-packages ~/envs/my-env && python -m venv ~/envs/apart")
    shell(owner, "~/envs/my-env/bin/pip install --quiet --no-index --no-deps --find-links ~/wheels vector==99")
    shell(owner, "~/envs/my-env/bin/python -m ipykernel install --user --name my-env --display-name 'My env'")
    for release in reversed(releases):  # the first last: who chooses nothing the next time gets it again
        anew(owner, release)
        specs = owner.api("GET", f"/user/{OWNER}/api/kernelspecs").json()["kernelspecs"]
        assert specs["my-env"]["spec"]["display_name"] == "My env"
        seen = owner.run(
            "import numpy, sys, vector; print(sys.prefix, numpy.__file__, vector.__version__)", name="my-env"
        )
        prefix, numpy, version = seen.split()
        assert prefix.endswith("/envs/my-env")
        assert numpy.startswith(f"{release['view']}-")
        assert version == "99"
        assert owner.run(WHICH).split()[0] != "99", "what is in an environment is there only"
        packages = json.loads(shell(owner, "~/envs/apart/bin/pip list --format=json"))
        assert [package["name"] for package in packages] == ["pip"]


def test_a_users_own_kernel_has_the_release_that_it_names(owner: Visitor, releases: list[Mapping[str, str]]) -> None:
    first, second = releases
    shell(owner, KERNEL.format(folder=OWN, name="other", title="With the other", view=second["view"]))
    shell(owner, KERNEL.format(folder=OWN, name="gone", title="With last year's", view="/cvmfs/nowhere/last-year"))
    for another_session in (False, True):
        if another_session:
            anew(owner, first)
        seen = owner.run("import os, numpy; print(os.environ['CYGNET_VIEW'], numpy.__file__)", name="other")
        view, numpy = seen.split()
        assert view.startswith(f"{second['view']}-")
        assert numpy.startswith(f"{view}/")
    asked = {"name": "", "path": "any.ipynb", "type": "notebook", "kernel": {"name": "gone"}}
    answer = owner.api("POST", f"/user/{OWNER}/api/sessions", json=asked)
    assert answer.status_code == 500
    told = answer.json()["message"]
    assert told.startswith("The kernel With last year's ended before it could run anything. It said:")
    assert "/cvmfs/nowhere/last-year/setup.sh: No such file or directory" in told


def test_an_operators_kernels_are_there_for_who_may_read_them(
    visitor: Callable[[str], Visitor], releases: list[Mapping[str, str]]
) -> None:
    member, other = visitor(OWNER), visitor("neighbour")
    for one in (member, other):
        one.start(release=releases[0]["name"])
    if OF_A_GROUP not in member.run("import os; print(os.environ['JUPYTER_PATH'])"):
        pytest.skip(f"the stack has no {OF_A_GROUP} in cygnet:hub.kernels")
    shell(member, KERNEL.format(folder=OF_A_GROUP, name="ours", title="Ours", view=releases[1]["view"]))
    try:
        seen = member.run("import os; print(os.environ['CYGNET_VIEW'])", name="ours")
        assert seen.startswith(f"{releases[1]['view']}-")
        found = [one.api("GET", f"/user/{one.name}/api/kernelspecs").json()["kernelspecs"] for one in (member, other)]
        assert set(found[0]) - set(found[1]) == {"ours"}
        assert {"python3", "root", "ir", "octave"} <= set(found[1])
    finally:
        shell(member, f"rm -r {OF_A_GROUP}")
