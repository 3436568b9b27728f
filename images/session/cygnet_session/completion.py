"""An IPython extension: the Tab key knows the names of ROOT, once ROOT is imported, and C++ in cells that are C++.

ROOT makes its names when they are asked for, so Python cannot list them. What ROOT hooks into the Tab key itself takes
every line for C++, and has its complaints printed below the next cell; this takes its place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

COMPLETER = "ROOT._jupyroot.helpers.cppcompleter"


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython when a kernel or prompt starts."""

    @context_matcher()
    def names_of_root(context: CompletionContext) -> SimpleMatcherResult:
        found: list[str] = []
        if COMPLETER in sys.modules:
            completer = sys.modules[COMPLETER]._cppCompleter
            completer.deactivate()
            if pattern := cpp(context, shell.user_ns):
                start = re.findall(r"\w*$", pattern)[0]
                rest = context.token.removesuffix(start)
                lines = [str(line) for line in completer.hook(pattern)]
                # As far as all candidates agree it is one line; what they are is told when asked again.
                further = [str(line) for line in completer.hook(lines[0])] if len(lines) == 1 else []
                found = [rest + name for name in names(further, pattern) or names(lines, pattern)]
        return {"completions": [SimpleCompletion(text=text) for text in found]}

    # The first to be asked, so that ROOT's is off when its turn comes.
    shell.Completer.custom_matchers.append(names_of_root)


def cpp(context: CompletionContext, variables: Mapping[str, Any]) -> str:
    """What of a cell is to be completed as C++; empty where nothing is.

    Args:
        context: The cell and where the cursor is.
        variables: Of the notebook.
    """
    if context.full_text.startswith("%%cpp"):
        before = context.line_with_cursor[: context.cursor_position].split()
        return before[-1] if before else ""
    module, _, start = context.token.partition(".")
    return start if start.isidentifier() and variables.get(module) is sys.modules["ROOT"] else ""


def names(lines: Iterable[str], pattern: str) -> list[str]:
    """The names in what ROOT's completion of C++ prints: all of them, or a single one behind what it belongs to.

    >>> names(["TH1", "TH1D", "TMath::", "TH1F( ", "", "double TH1::x"], "TH1")
    ['TH1', 'TH1D', 'TH1F']
    >>> names(["gStyle->SetOptStat("], "gStyle->SetOptS")
    ['SetOptStat']
    """
    start = re.findall(r"\w*$", pattern)[0]
    found = (re.match(r"\w+", line.removeprefix(pattern.removesuffix(start))) for line in lines)
    return sorted({match[0] for match in found if match and match[0].startswith(start)})
