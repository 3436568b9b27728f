"""Python runs this when it starts: packages of the view come after those of the user, and before the system's.

PYTHONPATH would put them first, and a user could not have another version of what is in a view. A virtual environment
has the view when it has the system's packages, too.
"""

import site
import sys
from pathlib import Path


def place(packages: str) -> None:
    """Puts a folder of packages before the first of the system's."""
    if sys.base_prefix in site.PREFIXES:
        system = set(site.getsitepackages([sys.base_prefix]))
        first = (number for number, folder in enumerate(sys.path) if folder in system)
        sys.path.insert(next(first, len(sys.path)), packages)


place(str(Path(__file__).parents[1] / "site-packages"))
