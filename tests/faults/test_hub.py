"""The hub goes away, and its users do not notice."""

from collections.abc import Callable

from requests import RequestException

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until


def test_sessions_go_on_while_the_hub_is_made_anew(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    physicist = started("physicist")
    kernel = physicist.kernel()
    kernel.run("answer = 42")
    hub = f"--namespace={stack.parts['hub']['namespace']}"

    stack.kubectl("delete", "pod", hub, "--selector=app.kubernetes.io/name=hub", "--wait=false")
    assert kernel.run("print(answer)") == "42\n"  # the same connection all the time

    stack.kubectl("rollout", "status", "deployment/hub", hub, "--timeout=120s", seconds=130)
    until(physicist.is_ready, "the hub knows the session again", seconds=60, through=RequestException)
    assert kernel.run("print(answer)") == "42\n"
    kernel.close()


def test_sessions_go_on_while_the_proxy_is_made_anew(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    physicist = started("physicist")
    physicist.kernel().run("answer = 42")
    (identity,) = physicist.kernels()
    hub = f"--namespace={stack.parts['hub']['namespace']}"

    stack.kubectl("delete", "pod", hub, "--selector=app.kubernetes.io/name=proxy", "--wait=true")
    stack.kubectl("rollout", "status", "deployment/proxy", hub, "--timeout=60s", seconds=70)

    # The hub tells the new proxy its routes.
    until(physicist.kernels, "the session can be reached again", seconds=90, through=RequestException)
    assert physicist.kernel(identity).run("print(answer)") == "42\n"
