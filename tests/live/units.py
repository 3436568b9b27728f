"""Units of machines that do not run for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from testinfra.host import Host


@contextmanager
def stopped(hosts: Sequence[Host], *units: str) -> Iterator[None]:
    """The units are stopped there in this order, and started again in the other one."""
    for host in hosts:
        host.check_output(f"systemctl stop {' '.join(units)}")
    try:
        yield
    finally:
        for host in hosts:
            host.check_output(f"systemctl start {' '.join(reversed(units))}")
