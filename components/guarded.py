"""How the gateway treats a page that is not the hub's, and that is for whom the hub knows: pieces of Caddy's routes.

Such a page has an origin of its own, so that nothing in it can act in a session or on the hub's pages. Signing in
happens at the service's origin, which both share their host, and so their cookies, with.

The two find each other by their ports. Who comes to the service at another port than the stack's, through a tunnel or
another proxy, finds the page at that port with a digit of the page's own before it: 8443 and 18443.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.gateway_config import public_url

SERVICE = "{http.vars.service}"
"""The service's own origin, for whoever is at a page."""
NO_QUERY = {"vars": {"{http.request.uri.query}": [""]}}
# A browser names the page that asks whenever it could do harm. Servers behind look at the host alone, which the
# service's own pages have too.
_OF_ANOTHER_PAGE = {
    "header": {"Origin": ["*"]},
    "not": [{"header": {"Origin": ["https://{http.request.hostport}"]}}],
}

Route = dict[str, Any]


def sign_in_pages(prefix: str) -> tuple[str, str]:
    """Where the hub's service answers browsers, for the page below `prefix`."""
    return f"{prefix}/sign-in", f"{prefix}/oauth_callback"


def at_service(prefix: str, service_port: int, page_port: int, sign_in: str, *, digit: int = 1) -> list[Route]:
    """Below a page's prefix at the service's own address: signing in, and a way to the page.

    Args:
        prefix: Such as "/files".
        service_port: HTTPS port of the service, for users.
        page_port: Of the page.
        sign_in: Where the hub's service answers, "name:port".
        digit: The page's own, before the service's port where that is not the stack's.
    """
    below = {"path": [prefix, f"{prefix}/*"]}
    page, elsewhere = (
        f"https://{{http.request.host}}:{port}{{http.request.uri}}"
        for port in (page_port, f"{digit}{{http.request.port}}")
    )
    here = {"vars": {"{http.request.port}": ["", "443", str(service_port)]}}
    return [
        {"match": [{"path": list(sign_in_pages(prefix))}], "handle": [proxy(sign_in)], "terminal": True},
        {"match": [{**below, **here}], "handle": [redirect(page)], "terminal": True},
        {"match": [below], "handle": [redirect(elsewhere)], "terminal": True},
    ]


def beginning(prefix: str, service_port: int, page_port: int, *, digit: int = 1) -> list[Route]:
    """The first routes at a page's own address: where the service is, and nothing but what is below the prefix.

    The arguments are those of `at_service`.
    """
    service = public_url("{http.request.host}", service_port)
    through = {"header_regexp": {"Host": {"name": "port", "pattern": rf":{digit}(\d+)$"}}}
    here = {"vars": {"{http.request.port}": [str(page_port)]}}
    elsewhere = "https://{http.request.host}:{http.regexp.port.1}"
    return [
        {"handle": [{"handler": "vars", "service": service}]},
        {"match": [{**through, "not": [here]}], "handle": [{"handler": "vars", "service": elsewhere}]},
        {"match": [{"path": ["/", prefix]}], "handle": [redirect(f"{prefix}/")], "terminal": True},
        {"match": [{"not": [{"path": [f"{prefix}/*"]}]}], "handle": [refusal(404)], "terminal": True},
    ]


def closed_to_other_pages(*headers: str) -> list[Route]:
    """Nobody says by X-Cygnet-*, or one of `headers`, who they are; and no other page asks in somebody's name."""
    removed = {"handler": "headers", "request": {"delete": ["X-Cygnet-*", *headers]}}
    policy = {"X-Frame-Options": ["SAMEORIGIN"], "Cross-Origin-Opener-Policy": ["same-origin"]}
    added = {"handler": "headers", "response": {"set": policy, "delete": ["Access-Control-*"], "deferred": True}}
    return [
        {"handle": [removed, added]},
        {"match": [_OF_ANOTHER_PAGE], "handle": [refusal(403)], "terminal": True},
    ]


def authenticated(
    prefix: str, sign_in: str, *, headers: Sequence[str] = (), set_headers: Mapping[str, Any] | None = None
) -> Route:
    """Asks the hub's service whose cookies these are; who is nobody is sent to it, and everyone else gets a name.

    Args:
        prefix: Of the page.
        sign_in: Where the hub's service answers, "name:port".
        headers: Those of its answer that the page gets.
        set_headers: Others that the page gets then.
    """
    page = f"{SERVICE}{sign_in_pages(prefix)[0]}?next={{http.request.orig_uri}}"
    named = {
        **{header: [f"{{http.reverse_proxy.header.{header}}}"] for header in headers},
        **(set_headers or {}),
    }
    return {
        **proxy(sign_in),
        "rewrite": {"method": "GET", "uri": f"{prefix}/who"},
        # It would refuse what a script of the page asks for, and is not what the script asks.
        "headers": {"request": {"set": {"Sec-Fetch-Mode": ["navigate"]}, "delete": ["Content-Type"]}},
        "handle_response": [
            {
                "match": {"status_code": [2]},
                "routes": [{"handle": [{"handler": "headers", "request": {"set": named}}]}],
            },
            {
                "match": {"status_code": [401]},
                "routes": [
                    {"match": [{"method": ["GET"]}], "handle": [redirect(page)], "terminal": True},
                    {"handle": [refusal(401)]},
                ],
            },
        ],
    }


def without_credentials(service: str, *headers: str) -> Route:
    """What says who somebody is to the hub is not for the server of a page: `service` is the hub's name of it."""
    cookies = rf"\b(service-{service}[\w-]*|jupyterhub-[\w-]*|_xsrf)=[^;]*(; *|$)"
    replaced = {"Cookie": [{"search_regexp": cookies, "replace": ""}]}
    return {"handler": "headers", "request": {"delete": ["Authorization", *headers], "replace": replaced}}


def proxy(address: str) -> Route:
    """Hands a request on."""
    return {"handler": "reverse_proxy", "upstreams": [{"dial": address}]}


def redirect(location: str) -> Route:
    """Sends a browser elsewhere."""
    # A browser that remembered it would go on when somebody else is signed in.
    headers = {"Location": [location], "Cache-Control": ["no-store"]}
    return {"handler": "static_response", "status_code": 302, "headers": headers}


def refusal(status: int) -> Route:
    """Answers with a status and nothing else."""
    return {"handler": "static_response", "status_code": status}
