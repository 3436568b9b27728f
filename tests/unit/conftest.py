"""What several unit tests look at."""

import pytest

from tests.unit import program


@pytest.fixture(scope="session")
def local() -> program.Engine:
    """What the stack `local` asks the engine for."""
    return program.run_file(program.PROJECT / "stacks/Pulumi.local.yaml")
