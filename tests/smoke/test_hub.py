"""JupyterHub, and the sessions of its users."""

import pytest
import requests

from components import session_image
from tests.live.stack import LiveStack


def test_it_is_healthy(stack: LiveStack, http: requests.Session) -> None:
    assert http.get(f"{stack.url}/hub/health", timeout=10).status_code == 200


def test_it_is_jupyterhub_5(stack: LiveStack, http: requests.Session) -> None:
    assert http.get(f"{stack.url}/hub/api/", timeout=10).json()["version"].startswith("5.")


@pytest.mark.parametrize("path", ["/hub/api/users", "/hub/api/info", "/hub/api/proxy", "/hub/api/services"])
def test_its_api_refuses_strangers(stack: LiveStack, http: requests.Session, path: str) -> None:
    assert http.get(f"{stack.url}{path}", timeout=10).status_code == 403


def test_strangers_are_sent_to_the_sign_in_page(stack: LiveStack, http: requests.Session) -> None:
    name = next(iter(stack.accounts))
    page = http.get(f"{stack.url}/user/{name}/lab", timeout=10)
    assert page.url.startswith(f"{stack.url}/hub/login")


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_it_runs(stack: LiveStack, name: str) -> None:
    namespace = stack.parts["hub"]["namespace"]
    rollout = stack.kubectl("rollout", "status", "--timeout=10s", "--namespace", namespace, f"deployment/{name}")
    assert "successfully rolled out" in rollout


def test_the_session_image_is_where_sessions_start(stack: LiveStack) -> None:
    (images,) = [one for one in stack.items("daemonsets") if one["metadata"]["name"] == session_image.NAME]
    assert images["status"]["numberReady"] == len(stack.group("worker"))
    if images["metadata"]["namespace"] == stack.parts["hub"]["namespace"]:
        (container,) = images["spec"]["template"]["spec"]["containers"]
        labelled = stack.items("nodes", f"--selector={session_image.LABEL}={session_image.tag(container['image'])}")
        assert {one["metadata"]["name"] for one in labelled} == set(stack.group("worker")), "sessions start there only"


def test_only_the_hub_may_talk_to_kubernetes(stack: LiveStack) -> None:
    namespaces = (stack.parts["hub"]["namespace"], stack.parts["hub"]["sessions_namespace"])
    allowed = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for namespace in namespaces
        for pod in stack.items("pods", "--namespace", namespace)
        if pod["spec"].get("automountServiceAccountToken") is not False
    }
    assert allowed - {session_image.NAME} == {"hub"}


def test_its_rights_end_at_sessions(stack: LiveStack) -> None:
    hub = f"{stack.parts['hub']['namespace']}:hub"
    sessions = f"--namespace={stack.parts['hub']['sessions_namespace']}"
    asked = (
        f"create pods {sessions}",
        f"delete persistentvolumeclaims {sessions}",
        f"get secrets {sessions}",
        f"create pods --namespace={stack.parts['hub']['namespace']}",
        "get nodes",
    )
    assert [what for what in asked if stack.may(hub, what)] == [f"create pods {sessions}"]
