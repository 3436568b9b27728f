"""The gateway: its manifests, its Caddy configuration, and that the real Caddy does with it what we mean."""

import http.client
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from components import gateway_config, gateway_pods, gateway_settings
from components.gateway_config import GatewayConfig
from engine import tools
from engine.errors import ToolMissing
from tests.live.waiting import until
from tests.unit import program, running_caddy
from tests.unit.manifests import careless, lets_in, lets_out, violations

HOST = "swan.example.org"
NAMES = [HOST, "10.240.3.11", "localhost", "127.0.0.1"]
LISTENS = "127.0.0.2"  # as in its pod, an address that the certificate does not know


# Addresses


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("swan.example", 443, "https://swan.example"),
        ("swan.example", 8443, "https://swan.example:8443"),
        ("192.0.2.7", 443, "https://192.0.2.7"),
    ],
)
def test_the_address_is_the_shortest_that_works(host: str, port: int, url: str) -> None:
    assert gateway_config.public_url(host, port) == url


@pytest.mark.parametrize("name", ["localhost", "a", "swan-2.example.org", "192.0.2.7"])
def test_good_host_names(name: str) -> None:
    assert GatewayConfig(hostname=name).hostname == name


@pytest.mark.parametrize("name", ["", "https://a", "a/b", "a b", "-a", "a-", "a..b", ".a", "a:443", "Swan", "a_b"])
def test_bad_host_names(name: str) -> None:
    with pytest.raises(ValueError, match="hostname"):
        GatewayConfig(hostname=name)


def test_without_a_name_the_address_is_the_machines(local: program.Engine) -> None:
    assert local.stack_outputs()[0]["url"] == "https://10.240.3.11"


def test_with_a_name_it_is_the_address_and_in_the_certificate() -> None:
    engine = program.run("site", {"cygnet:gateway": {"hostname": HOST, "https_port": 8443}})
    assert engine.stack_outputs()[0]["url"] == f"https://{HOST}:8443"
    assert engine.one("Issuer", "gateway").inputs["hosts"] == [HOST, "localhost"]
    assert engine.one("Certificate", "gateway").inputs["names"] == ["10.240.3.11", "127.0.0.1"]


def test_the_certificate_is_for_the_machine_and_for_tunnels(local: program.Engine) -> None:
    assert local.one("Issuer", "gateway").inputs["hosts"] == ["localhost"]
    assert local.one("Certificate", "gateway").inputs["names"] == ["10.240.3.11", "127.0.0.1"]
    (loaded,) = settings_of(local)["apps"]["tls"]["certificates"]["load_pem"]
    leaf = x509.load_pem_x509_certificate(loaded["certificate"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["10.240.3.11", "127.0.0.1"]


def settings_of(engine: program.Engine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.one("Secret", "gateway").inputs["stringData"]["caddy.json"])
    return found


# Manifests


def pod(**keys: Any) -> dict[str, Any]:
    made = gateway_pods.caddy_pod(GatewayConfig(**keys), image="r/gateway:1", started_with="digest")
    spec: dict[str, Any] = made["spec"]
    return spec


def test_the_only_liberty_of_its_pod_is_the_machines_ports() -> None:
    made = pod()
    assert set(violations(made)) == {"caddy: hostPort"}
    assert careless(made) == []


def test_its_ports_on_the_machine_are_those_of_the_stack() -> None:
    (caddy,) = pod(https_port=10443, http_port=10080)["containers"]
    assert {port["name"]: port["hostPort"] for port in caddy["ports"]} == {"https": 10443, "http": 10080}


def test_it_is_on_every_machine_to_which_the_services_address_may_lead() -> None:
    three = {"source": "local", "groups": {"control_plane": {"count": 3}}}
    engine = program.run("site", {"cygnet:machines": three})
    pod = engine.one("DaemonSet", "gateway").inputs["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    assert "node-role.kubernetes.io/control-plane" in [one["key"] for one in pod["tolerations"]]
    assert engine.stack_outputs()[0]["url"] == "https://10.240.3.10"


def test_a_new_certificate_starts_no_new_pod_and_a_new_issuer_does(local: program.Engine) -> None:
    def annotations(engine: program.Engine) -> Any:
        return engine.one("DaemonSet", "gateway").inputs["spec"]["template"]["metadata"]["annotations"]

    again = program.run("local", {})  # all that a stack makes is made again
    assert settings_of(again) != settings_of(local)
    assert annotations(again) != annotations(local)
    (caddy,) = pod()["containers"]
    assert caddy["args"][-1] == "--watch"


def test_what_it_mounts_is_what_we_make(local: program.Engine) -> None:
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    made = local.one("Secret", "gateway").inputs
    assert volumes["settings"]["secret"]["secretName"] == made["metadata"]["name"]
    assert {item["key"] for item in volumes["settings"]["secret"]["items"]} <= set(made["stringData"])
    (caddy,) = pod()["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in caddy["volumeMounts"]}
    assert caddy["args"][:3] == ["run", "--config", f"{mounts['settings']}/caddy.json"]


def test_what_an_authority_gave_outlives_the_pod() -> None:
    acme = {"hostname": HOST, "certificate": {"kind": "acme"}}
    engine = program.run("site", {"cygnet:gateway": acme})
    claim = engine.one("PersistentVolumeClaim", "gateway-certificates").inputs["metadata"]
    volumes = {volume["name"]: volume for volume in pod(**acme)["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["name"]
    assert claim["namespace"] == engine.one("DaemonSet", "gateway").inputs["metadata"]["namespace"]


# Who may connect


def test_everybody_may_connect_unless_the_stack_says_otherwise() -> None:
    policy = gateway_pods.network_policy(GatewayConfig())
    assert lets_in(policy, "198.51.100.7", 8443)
    assert lets_in(policy, "198.51.100.7", 8080)


def test_only_the_networks_of_the_stack_may_connect() -> None:
    policy = gateway_pods.network_policy(GatewayConfig(allowed_networks=("192.0.2.0/24", "198.51.100.7/32")))
    assert lets_in(policy, "192.0.2.200", 8443)
    assert lets_in(policy, "198.51.100.7", 8080)
    assert not lets_in(policy, "198.51.100.8", 8443)
    assert not lets_in(policy, "198.51.100.8", 8080)


def test_nothing_but_its_two_ports_is_open() -> None:
    policy = gateway_pods.network_policy(GatewayConfig())
    assert not any(lets_in(policy, "192.0.2.1", port) for port in (22, 80, 443, 2019))


def test_it_reaches_the_outside_only_where_it_asks_for_a_certificate() -> None:
    config = GatewayConfig(hostname=HOST, certificate={"kind": "acme"})
    policy = gateway_pods.network_policy(config, not_outside=["10.240.3.0/24"])
    assert lets_out(policy, "192.0.2.1")
    assert not lets_out(policy, "10.240.3.11")


def test_it_reaches_the_hubs_proxy_and_dns_and_nothing_by_address() -> None:
    policy = gateway_pods.network_policy(GatewayConfig())
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert not any(lets_out(policy, address) for address in ("10.96.0.1", "10.240.3.11", "192.0.2.1"))
    _, proxy = policy["egress"]
    assert [port["port"] for port in proxy["ports"]] == [8000]


# Caddy's configuration


@pytest.mark.parametrize(
    ("kind", "https_only"), [({}, None), ({"kind": "acme", "directory": "https://ca.example/dir"}, "max-age=15552000")]
)
def test_browsers_are_told_what_not_to_do(kind: dict[str, Any], https_only: str | None) -> None:
    config = GatewayConfig.model_validate({"hostname": HOST, "certificate": kind})
    made = gateway_pods.caddy_config(config, names=NAMES, hosts=NAMES[:1], proxy_address="proxy:8000", for_addresses={})
    *_, to_hub = made["apps"]["http"]["servers"]["https"]["routes"]
    told = to_hub["handle"][0]["response"]["set"]
    assert (told["X-Content-Type-Options"], told["X-Frame-Options"]) == (["nosniff"], ["SAMEORIGIN"])
    # Whoever does not trust the stack's own authority is asked by the browser; with this nobody would be.
    assert told.get("Strict-Transport-Security", [None])[0] == https_only


def test_its_administration_is_off_and_nothing_is_issued_by_names_in_requests() -> None:
    made = gateway_pods.caddy_config(
        GatewayConfig(), names=NAMES, hosts=["localhost"], proxy_address="proxy.hub.svc:8000", for_addresses={}
    )
    assert made["admin"] == {"disabled": True, "config": {"persist": False}}
    assert made["apps"]["tls"]["certificates"]["automate"] == ["localhost"]
    # Caddy makes an authority of this name where there is none, and has it trusted by its computer.
    (authority,) = made["apps"]["pki"]["certificate_authorities"].items()
    assert (authority[0], authority[1]["install_trust"]) == ("local", False)
    servers = made["apps"]["http"]["servers"]
    assert all(server["automatic_https"] == {"disable": True} for server in servers.values())
    assert {name: server["listen"] for name, server in servers.items()} == {"https": [":8443"], "http": [":8080"]}
    assert "tls_connection_policies" not in servers["http"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LISTENS, 0))
        port: int = probe.getsockname()[1]
        return port


class Echo(http.server.BaseHTTPRequestHandler):
    """Stands where the hub's proxy is; answers with what it was asked."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Is silent."""


@dataclass
class Running:
    """A Caddy that runs with our configuration."""

    https: int
    http: int
    trust: ssl.SSLContext

    def get(self, path: str, *, name: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """What the service behind saw of a request to `name`. Raises ssl.SSLError."""
        with (
            socket.create_connection((LISTENS, self.https), timeout=10) as plain,
            self.trust.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.sock = encrypted
            connection.request("GET", path, headers={"Host": name, **(headers or {})})
            seen: dict[str, Any] = json.loads(connection.getresponse().read())
            return seen


@pytest.fixture(scope="module", params=[HOST, None])
def caddy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    try:
        tools.path("caddy")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("caddy")
    # Where a stack has no name, one of the test's own stands for the host that it asks by name.
    authority = running_caddy.Authority(GatewayConfig(hostname=request.param, https_port=10443), NAMES)
    echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    made = Running(free_port(), free_port(), ssl.create_default_context(cadata=authority.certificate))
    listens = {running_caddy.HTTPS: f"{LISTENS}:{made.https}", running_caddy.HTTP: f"{LISTENS}:{made.http}"}
    settings = running_caddy.write_settings(
        folder, authority, proxy_address=f"127.0.0.1:{echo.server_port}", listens=listens
    )
    try:
        with running_caddy.running(settings, listens[running_caddy.HTTPS]):
            for name in NAMES:
                until(
                    partial(made.get, "/", name=name),
                    f"it has one for {name}",
                    seconds=20,
                    through=ssl.SSLError,
                )
            yield made
    finally:
        echo.shutdown()
        echo.server_close()


@pytest.mark.parametrize("name", [HOST, "localhost", "127.0.0.1", "10.240.3.11"])
def test_caddy_shows_a_certificate_for_every_name_of_the_service(caddy: Running, name: str) -> None:
    assert caddy.get("/hub/login?next=%2F", name=name)["path"] == "/hub/login?next=%2F"


def test_caddy_answers_to_another_name_with_ours_and_browsers_refuse_it(caddy: Running) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example'"):
        caddy.get("/", name="other.example")


def test_caddy_tells_the_hub_who_asked_and_believes_nobody_elses_word(caddy: Running) -> None:
    seen = caddy.get("/", name=HOST, headers={"X-Forwarded-For": "203.0.113.66", "X-Forwarded-Proto": "http"})
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == HOST


def test_caddy_sends_plain_http_to_https_on_the_stacks_port(caddy: Running) -> None:
    connection = http.client.HTTPConnection(LISTENS, caddy.http, timeout=10)
    connection.request("GET", "/user/ada/lab?x=1", headers={"Host": f"{HOST}:10080"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, f"https://{HOST}:10443/user/ada/lab?x=1")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_caddy_has_no_old_tls(caddy: Running) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection((LISTENS, caddy.https)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname=HOST)


def test_caddy_tells_the_digest_of_what_it_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_settings, "_PORT", free_port())
    told = partial(gateway_settings._told, gateway_settings._PORT)
    address, file = f"127.0.0.1:{free_port()}", tmp_path / "caddy.json"
    before, after = (
        gateway_settings.settings(
            {
                "admin": {"disabled": True, "config": {"persist": False}},
                "apps": {"http": {"servers": {"https": {"listen": [address], "routes": [{"handle": [answer]}]}}}},
            }
        )
        for answer in ({"handler": "static_response", "body": body} for body in ("before", "after"))
    )
    file.write_text(before[0])
    with running_caddy.running(file, address):
        until(lambda: told() == before[1], "it tells its digest", seconds=20)
        (tmp_path / "new").write_text(after[0])
        (tmp_path / "new").rename(file)
        until(lambda: told() == after[1], "it tells the new one", seconds=20)
    assert before[1] != after[1]
    assert told() == ""  # where nobody listens
