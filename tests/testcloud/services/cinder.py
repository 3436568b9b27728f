"""Cinder in one process: its API, scheduler and volume service.

`python -m tests.testcloud.services.cinder PORT --config-file FILE`
"""

from cinder import monkey_patch

monkey_patch.patch(backend="threading")  # before anything else of Cinder is imported

import shlex  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from typing import Any  # noqa: E402

import os_brick  # noqa: E402
from cinder import coordination, i18n, objects, rpc, service, utils, version  # noqa: E402
from cinder.common import config, constants  # noqa: E402, F401 - registers options
from oslo_config import cfg  # noqa: E402
from oslo_log import log  # noqa: E402
from oslo_privsep import priv_context  # noqa: E402
from oslo_service import wsgi  # noqa: E402

from tests.testcloud.services import serve, transport  # noqa: E402

_reporting = threading.Lock()
_numbers: dict[int, int] = {}
_report_state = service.Service.report_state


def _report_own_state(own: service.Service) -> None:
    """Cinder keeps a service's number in its class; two services in one process need their own for the heartbeat."""
    with _reporting:
        service.Service.service_id = _numbers[id(own)]
        _report_state(own)


def run(port: int) -> None:
    """Starts all services and serves the API."""
    transport.wake_on_arrival()
    i18n.enable_lazy()
    objects.register_all()
    settings = cfg.CONF
    settings.register_opts([cfg.StrOpt("backend_host"), cfg.StrOpt("cluster")])
    settings(sys.argv[1:], project="cinder", version=version.version_string())
    backend = settings.enabled_backends[0]
    settings.register_opt(cfg.StrOpt("backend_host"), group=backend)
    log.setup(settings, "cinder")
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(settings)
    rpc.init(settings)
    service.Service.report_state = _report_own_state
    volume = {"host": f"{settings.host}@{backend}", "service_name": backend, "coordination": True}
    kept = [_started(binary=constants.VOLUME_BINARY, **volume), _started(binary=constants.SCHEDULER_BINARY)]
    assert kept
    coordination.COORDINATOR.start()
    serve.serve(wsgi.Loader(settings).load_app(name="osapi_volume"), port)


def _started(**what: Any) -> service.Service:
    made = service.Service.create(**what)
    _numbers[id(made)] = service.Service.service_id
    made.start()
    return made


if __name__ == "__main__":
    run(int(sys.argv.pop(1)))
