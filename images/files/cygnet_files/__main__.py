"""Starts copyparty with its configuration (/etc/cygnet/copyparty.conf), after the rule on links is in its database."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cygnet_files.links import limit


def main(settings: Path, database: Path, days: int) -> None:
    """Becomes copyparty.

    Args:
        settings: What copyparty reads.
        database: Where it keeps its links.
        days: For how long a link may last.
    """
    copyparty = [sys.executable, "-m", "copyparty", "-c", str(settings)]
    if not database.exists():
        # It makes the tables that the rule is about, and is not to be found meanwhile: it would end what one asks it.
        with tempfile.TemporaryDirectory() as hidden:
            subprocess.run([*copyparty, "--exit", "idx", "-i", f"unix:600:{hidden}/socket"], check=True)
    limit(database, days)
    os.execv(sys.executable, copyparty)  # noqa: S606 - there is no shell, and none is wanted


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
