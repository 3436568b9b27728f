"""What runs in containers: one folder per image, built without a container registry.

Others use `fingerprint` and `tag` (cheap, for a preview), `ensure` (an OCI layout) and `push`; people use
`python -m images`.
"""

from images.build import ensure
from images.catalogue import fingerprint, tag
from images.push import push

__all__ = ["ensure", "fingerprint", "push", "tag"]
