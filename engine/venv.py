"""Puts the tools into a virtual environment: kubectl, and a pulumi that works without a further word.

`pulumi` there is a small wrapper that sets what the user has not set and runs the real one. When the real one comes
from PATH (an official installation), its plugins are left alone.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from engine import recipes, tools
from engine.cache import root
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress

PLUGINS = {"kubernetes": "pulumi-resource-kubernetes", "openstack": "pulumi-resource-openstack"}
_STAMP = ".cygnet-key"  # in a plugin's folder: the recipe's key, when the plugin is ours
_WRAPPER = Path(__file__).with_name("pulumi.sh")


def link(venv: Path, progress: Progress) -> None:
    """Makes the links, the wrapper and the plugins; may be repeated. Raises EngineError, ToolMissing."""
    folder = venv.absolute() / "bin"
    if not (venv / "pyvenv.cfg").is_file():
        raise EngineError(
            f"{venv} is not a virtual environment",
            where=str(venv.absolute()),
            why="it has no pyvenv.cfg",
            cure=f"python3 -m venv {venv}",
        )
    progress.begin("link")
    pulumi = tools.path("pulumi")
    own = pulumi.is_relative_to(root())
    _place_link(folder / "kubectl", tools.path("kubectl"))
    _place_text(folder / "pulumi", wrapper(pulumi, own_plugins=own))
    if own:
        for name, tool in PLUGINS.items():
            _install_plugin(name, tool, pulumi, progress)
    progress.say(f"{folder}: pulumi ({pulumi}), kubectl{', plugins' if own else ''}")


def wrapper(pulumi: Path, *, own_plugins: bool) -> str:
    """The text of the pulumi command in the virtual environment."""
    text = _WRAPPER.read_text(encoding="utf-8")
    return text.replace("@PULUMI@", shlex.quote(str(pulumi))).replace("@OWN_PLUGINS@", "yes" if own_plugins else "no")


def _install_plugin(name: str, tool: str, pulumi: Path, progress: Progress) -> None:
    """Gives Pulumi our provider; one of the same version that is not ours stays."""
    recipe = recipes.RECIPES[tool]
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    stamp = home / "plugins" / f"resource-{name}-v{recipe.version}" / _STAMP
    if stamp.parent.is_dir() and (not stamp.is_file() or stamp.read_text(encoding="utf-8") == recipe.key):
        return
    argv = ["plugin", "install", "resource", name, recipe.version, "--file", str(tools.path(tool)), "--reinstall"]
    environment = os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    Runner("link", root() / "logs" / "link.log", progress).run(f"plugin {name}", [str(pulumi), *argv], env=environment)
    stamp.write_text(recipe.key, encoding="utf-8")


def _place_link(file: Path, target: Path) -> None:
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.resolve())  # what PATH gives may be this very link
    new.replace(file)


def _place_text(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o755)
    new.replace(file)
