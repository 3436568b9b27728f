"""Where the tools come from: pinned versions, and recipes that get or build them.

Others use `engine.tools` (path, key, get), `engine.versions.VERSIONS` and `engine.cache.root()`; people use
`python -m engine`. The engine knows nothing of stacks, components or machines.
"""
