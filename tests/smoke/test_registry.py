"""Where machines get their container images."""

import socket
import ssl

import requests

from tests.live.stack import LiveStack


def test_it_wants_a_password(stack: LiveStack, http: requests.Session) -> None:
    address = stack.parts["registry"]["address"]
    answers = {path: http.get(f"https://{address}{path}", timeout=10).status_code for path in ("/v2/", "/v2/_catalog")}
    assert answers == {"/v2/": 401, "/v2/_catalog": 401}


def test_it_refuses_a_wrong_password(stack: LiveStack, http: requests.Session) -> None:
    address = stack.parts["registry"]["address"]
    assert http.get(f"https://{address}/v2/", auth=("node", "wrong"), timeout=10).status_code == 401


def test_it_speaks_tls_with_the_stacks_certificate_only(stack: LiveStack) -> None:
    host, port = stack.parts["registry"]["address"].split(":")
    trusting = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        trusting.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        assert encrypted.version() in ("TLSv1.2", "TLSv1.3")


def test_all_that_runs_in_the_cluster_came_from_it(stack: LiveStack) -> None:
    address = stack.parts["registry"]["address"]
    images = {
        container["image"]
        for pod in stack.items("pods")
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    }
    assert [image for image in images if not image.startswith(f"{address}/")] == []
