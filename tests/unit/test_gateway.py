"""The gateway: its manifests, its Caddy configuration, and that the real Caddy does with it what we mean."""

import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509

from components import gateway
from components.gateway import GatewayConfig
from components.secrets import issue_certificate, new_authority
from engine import tools
from engine.errors import ToolMissing
from tests.unit import program
from tests.unit.manifests import careless, lets_in, lets_out, violations

HOST = "swan.example.org"
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
    assert gateway.public_url(host, port) == url


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
    assert engine.one("Certificate", "gateway").inputs["names"] == [HOST, "10.240.3.11", "localhost", "127.0.0.1"]


def test_the_certificate_is_for_the_machine_and_for_tunnels(local: program.Engine) -> None:
    assert local.one("Certificate", "gateway").inputs["names"] == ["10.240.3.11", "localhost", "127.0.0.1"]
    leaf = x509.load_pem_x509_certificate(local.one("Secret", "gateway").inputs["stringData"]["tls.crt"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["10.240.3.11", "127.0.0.1"]


# Manifests


def spec(**keys: Any) -> dict[str, Any]:
    return gateway.daemon_set_spec(GatewayConfig(**keys), image="r/gateway:1", settings="digest")


def test_the_only_liberty_of_its_pod_is_the_machines_ports() -> None:
    pod = spec()["template"]["spec"]
    assert set(violations(pod)) == {"caddy: hostPort"}
    assert careless(pod) == []


def test_its_ports_on_the_machine_are_those_of_the_stack() -> None:
    (caddy,) = spec(https_port=10443, http_port=10080)["template"]["spec"]["containers"]
    assert {port["name"]: port["hostPort"] for port in caddy["ports"]} == {"https": 10443, "http": 10080}


def test_it_is_on_every_machine_to_which_the_services_address_may_lead() -> None:
    three = {"source": "local", "groups": {"control_plane": {"count": 3}}}
    engine = program.run("site", {"cygnet:machines": three})
    pod = engine.one("DaemonSet", "gateway").inputs["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    assert "node-role.kubernetes.io/control-plane" in [one["key"] for one in pod["tolerations"]]
    assert engine.stack_outputs()[0]["url"] == "https://10.240.3.10"


def test_a_new_certificate_or_configuration_starts_a_new_pod(local: program.Engine) -> None:
    def annotations(engine: program.Engine) -> Any:
        return engine.one("DaemonSet", "gateway").inputs["spec"]["template"]["metadata"]["annotations"]

    assert annotations(program.run("local", {"cygnet:gateway": {"https_port": 444}})) != annotations(local)


def test_what_it_mounts_is_what_we_make(local: program.Engine) -> None:
    volumes = {volume["name"]: volume for volume in spec()["template"]["spec"]["volumes"]}
    made = local.one("ConfigMap", "gateway").inputs
    assert volumes["settings"]["configMap"]["name"] == made["metadata"]["name"]
    assert volumes["tls"]["secret"]["secretName"] == local.one("Secret", "gateway").inputs["metadata"]["name"]
    (caddy,) = spec()["template"]["spec"]["containers"]
    (file,) = made["data"]
    mounts = {mount["name"]: mount["mountPath"] for mount in caddy["volumeMounts"]}
    assert caddy["args"] == ["run", "--config", f"{mounts['settings']}/{file}"]


# Who may connect


def test_everybody_may_connect_unless_the_stack_says_otherwise() -> None:
    policy = gateway.network_policy(GatewayConfig())
    assert lets_in(policy, "198.51.100.7", 8443)
    assert lets_in(policy, "198.51.100.7", 8080)


def test_only_the_networks_of_the_stack_may_connect() -> None:
    policy = gateway.network_policy(GatewayConfig(allowed_networks=("192.0.2.0/24", "198.51.100.7/32")))
    assert lets_in(policy, "192.0.2.200", 8443)
    assert lets_in(policy, "198.51.100.7", 8080)
    assert not lets_in(policy, "198.51.100.8", 8443)
    assert not lets_in(policy, "198.51.100.8", 8080)


def test_nothing_but_its_two_ports_is_open() -> None:
    assert not any(lets_in(gateway.network_policy(GatewayConfig()), "192.0.2.1", port) for port in (22, 80, 443, 2019))


def test_it_reaches_the_hubs_proxy_and_dns_and_nothing_by_address() -> None:
    policy = gateway.network_policy(GatewayConfig())
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert not any(lets_out(policy, address) for address in ("10.96.0.1", "10.240.3.11", "192.0.2.1"))
    _, proxy = policy["egress"]
    assert [port["port"] for port in proxy["ports"]] == [8000]


# Caddy's configuration


def test_the_configuration_serves_the_stacks_certificate_and_asks_nobody_for_another() -> None:
    made = gateway.caddy_config(GatewayConfig(), HOST, "proxy.hub.svc:8000")
    assert made["admin"] == {"disabled": True}
    assert list(made["apps"]["tls"]) == ["certificates"]
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


@pytest.fixture(scope="module", params=[HOST, "10.240.3.11"])
def caddy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    try:
        binary = tools.path("caddy")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("caddy")
    authority, key = new_authority("unit")
    names = [HOST, "10.240.3.11", "localhost", "127.0.0.1"]
    chain, private = issue_certificate(names, authority=authority, authority_key=key)
    (folder / "tls.crt").write_text(chain)
    (folder / "tls.key").write_text(private)
    echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    made = gateway.caddy_config(GatewayConfig(https_port=10443), request.param, f"127.0.0.1:{echo.server_port}")
    running = Running(free_port(), free_port(), ssl.create_default_context(cadata=authority))
    text = json.dumps(made).replace("/etc/caddy/tls", str(folder))
    text = text.replace('":8443"', f'"{LISTENS}:{running.https}"').replace('":8080"', f'"{LISTENS}:{running.http}"')
    file = folder / "caddy.json"
    file.write_text(text)
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "HOME": str(folder)}
    subprocess.run([binary, "validate", "--config", file], env=environment, check=True, capture_output=True)
    with subprocess.Popen([binary, "run", "--config", file], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            await_port(running.https)
            yield running
        finally:
            process.terminate()
            echo.shutdown()
            echo.server_close()


def await_port(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((LISTENS, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "Caddy does not answer"
            time.sleep(0.05)
        else:
            return


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
