"""The tools: get them, and find where they are. This is what other parts of cygnet use.

`get(["kubernetes"])` obtains what is missing, `path("kubelet")` is the binary, and `key("kubernetes")` changes when
what the recipe makes changes.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from engine import cache, golang, on_path, recipes
from engine.errors import BuildFailed, ToolMissing
from engine.kinds import Recipe
from engine.process import Runner
from engine.progress import Progress, Row


def path(binary: str) -> Path:
    """The file of a binary, or of the tool with one binary of its own name. Raises ToolMissing."""
    recipe = recipes.find(binary)
    name = binary if binary in recipe.binaries else recipe.binaries[0]
    if recipe.entry.present():
        return recipe.entry.bin / name
    installed = on_path.find(recipe)
    if installed:
        return installed[name]
    raise ToolMissing(
        f"{name} {recipe.version} has not been obtained",
        where=str(recipe.entry.folder),
        why="neither the store of tools nor PATH has it in this version",
        cure=f"python -m engine get {recipe.tool}",
    )


def key(tool: str) -> str:
    """Twelve hexadecimal digits that stand for version, recipe, locks and sources of a tool."""
    return recipes.find(tool).key


def get(names: Iterable[str] = (), progress: Progress | None = None) -> list[Row]:
    """Obtains tools: from the store, from PATH, or by their recipes; in the recipes' order.

    When none is named, these are all but those on demand. What is in the store is compared with its manifest and built
    again when damaged. Raises EngineError.
    """
    progress = progress or Progress()
    named = {recipes.find(name).tool for name in names}
    wanted = named or {tool for tool, recipe in recipes.RECIPES.items() if not recipe.on_demand}
    return [obtain(recipe, progress) for tool, recipe in recipes.RECIPES.items() if tool in wanted]


def drop_superseded(progress: Progress) -> None:
    """Removes tools that no recipe of this checkout makes any more; `python -m engine link` again if one was linked."""
    entries = [recipe.entry for recipe in recipes.RECIPES.values()]
    freed = cache.drop_superseded(entries, lambda other: progress.at(f"waiting for another run that builds {other}"))
    progress.say(f"superseded tools: {freed:.0f} MB removed")


def obtain(recipe: Recipe, progress: Progress) -> Row:
    """Obtains one tool. Raises BuildFailed."""
    progress.begin(recipe.tool)
    started = time.monotonic()

    def row(source: str, megabytes: float) -> Row:
        return Row(recipe.tool, recipe.version, source, time.monotonic() - started, megabytes)

    if _sound(recipe, progress):
        return row("cached", recipe.entry.megabytes())
    place = _installed(recipe)
    if place:
        progress.say(f"{recipe.tool} {recipe.version}: {place}, not built")
        return row("PATH", 0)
    with recipe.entry.building(lambda other: progress.at(f"waiting for another run that builds {other}")) as folder:
        if _sound(recipe, progress):  # the other run made it
            return row("cached", recipe.entry.megabytes())
        _build(recipe, folder, progress)
    megabytes = recipe.entry.megabytes()
    progress.say(f"{recipe.tool} {recipe.version}: built, {megabytes:.0f} MB, {time.monotonic() - started:.0f} s")
    if golang.caches_are_big():
        progress.say(f"less than {golang.LOW_DISK_GB} GB of disk are free: the compiler's caches are emptied")
        golang.trim(progress)
    return row("built", megabytes)


def _sound(recipe: Recipe, progress: Progress) -> bool:
    """Whether the store has the tool, undamaged; says so when damaged."""
    if not recipe.entry.present():
        return False
    progress.at("verify")
    damage = recipe.entry.damage()
    if damage:
        progress.say(f"{recipe.tool} {recipe.version}: {damage} in {recipe.entry.folder}; it is made again")
    return damage is None


def _installed(recipe: Recipe) -> str | None:
    """Why the tool need not be built, in words, when the computer has it."""
    found = on_path.find(recipe)
    if found:
        return f"found on PATH in {next(iter(found.values())).parent}"
    if recipe.comes_with and on_path.find(recipes.RECIPES[recipe.comes_with]):
        return f"comes with the {recipe.comes_with} on PATH"
    return None


def _build(recipe: Recipe, folder: Path, progress: Progress) -> None:
    log = cache.root() / "logs" / f"{recipe.tool}-{recipe.version}.log"
    seconds, cpu = _stopwatch(lambda: recipe.build(folder, Runner(recipe.tool, log, progress)))
    made = {file.name for file in (folder / "bin").iterdir()}
    if made != set(recipe.binaries):
        raise BuildFailed(
            f"{recipe.tool}: the recipe made {', '.join(sorted(made)) or 'nothing'}",
            where=f"engine/recipes.py, full log in {log}",
            why=f"it promises {', '.join(recipe.binaries)}",
            cure="make `binaries` and `called` of the recipe say what the module has in this version",
        )
    progress.at("publish")
    facts = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "compiler": _compiler(recipe)}
    recipe.entry.publish(folder, facts)


def _stopwatch(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of `work`, those of its child processes included."""
    started, before = time.monotonic(), _cpu()
    work()
    return time.monotonic() - started, _cpu() - before


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _compiler(recipe: Recipe) -> str:
    """What the manifest says of the compiler: the first line of its version."""
    argv = [golang.command(), "version"] if recipe.command[0] == "go" else [recipe.command[0], "--version"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
