#!/usr/bin/python3
"""cygnet-warm FOLDER: reads what the prewarm lists of a mounted repository's views name, once for each revision.

What it reads is then in the machine's cache: the first user of a release does not wait for the network. Links lead to
the newest views; nobody starts with a former one.
"""

import os
import sys
from pathlib import Path

CHUNK = 1 << 20

repository = Path(sys.argv[1])
done = Path("/run", f"cygnet-warm-{repository.name}")
revision = os.getxattr(repository, "user.revision")
if not done.exists() or done.read_bytes() != revision:
    for view in {link.resolve() for link in repository.iterdir() if link.is_symlink()}:
        prewarm = view / "prewarm"
        for line in prewarm.read_text().splitlines() if prewarm.exists() else ():
            with (view / line).open("rb", buffering=0) as file:
                while file.read(CHUNK):
                    pass
    done.write_bytes(revision)
