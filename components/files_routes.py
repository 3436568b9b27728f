"""How the gateway treats the page of files: Caddy's routes, at the page's own port and at the service's.

The page has an origin of its own, so that nothing in it can act in a session or on the hub's pages. Signing in happens
at the service's origin, which both share their host, and so their cookies, with.

The two find each other by their ports. Who comes to the service at another port than the stack's, through a tunnel or
another proxy, finds the page at that port with a 1 before it: 8443 and 18443.
"""

from typing import Any

from components.copyparty import GROUPS_HEADER, KEY_VARIABLE, PREFIX, SHARES, SIGN_OUT, USER_HEADER
from components.gateway import public_url

SIGN_IN_PAGES = (f"{PREFIX}/sign-in", f"{PREFIX}/oauth_callback")
_WHO = f"{PREFIX}/who"
HOME_HEADER = "X-Cygnet-Home"
# Links that open without sign-in, and the looks of the page.
_FOR_ALL = (f"{PREFIX}{SHARES}/*", f"{PREFIX}/.cpr/*")
# What the hub's cookies are called. They say who somebody is to the hub, and are not for the server of files.
_COOKIES = r"\b(service-files[\w-]*|jupyterhub-[\w-]*|_xsrf)=[^;]*(; *|$)"
# A browser names the page that asks whenever it could do harm. copyparty looks at the host alone, which the service's
# own pages have too.
_OF_ANOTHER_PAGE = {
    "header": {"Origin": ["*"]},
    "not": [{"header": {"Origin": ["https://{http.request.hostport}"]}}],
}
_SERVICE = "{http.vars.service}"
_NO_QUERY = {"vars": {"{http.request.uri.query}": [""]}}

Route = dict[str, Any]


def at_service(service_port: int, page_port: int, sign_in: str) -> list[Route]:
    """Below /files/ at the service's own address: signing in, and a way to the page.

    Args:
        service_port: HTTPS port of the service, for users.
        page_port: Of the page.
        sign_in: Where the hub's service answers, "name:port".
    """
    below = {"path": [PREFIX, f"{PREFIX}/*"]}
    page, elsewhere = (
        f"https://{{http.request.host}}:{port}{{http.request.uri}}" for port in (page_port, "1{http.request.port}")
    )
    here = {"vars": {"{http.request.port}": ["", "443", str(service_port)]}}
    return [
        {"match": [{"path": list(SIGN_IN_PAGES)}], "handle": [_proxy(sign_in)], "terminal": True},
        {"match": [{**below, **here}], "handle": [_redirect(page)], "terminal": True},
        {"match": [below], "handle": [_redirect(elsewhere)], "terminal": True},
    ]


def at_page(service_port: int, page_port: int, *, sign_in: str, files: str, preview: str) -> list[Route]:
    """All of the page's own address.

    Args:
        service_port: HTTPS port of the service, where people sign in.
        page_port: Of the page.
        sign_in: Where the hub's service answers, "name:port".
        files: Where copyparty answers.
        preview: Where notebooks are shown.
    """
    service = public_url("{http.request.host}", service_port)
    through = {"header_regexp": {"Host": {"name": "port", "pattern": r":1(\d+)$"}}}
    here = {"vars": {"{http.request.port}": [str(page_port)]}}
    elsewhere = "https://{http.request.host}:{http.regexp.port.1}"
    sign_out = _redirect(f"{_SERVICE}/hub/logout")
    return [
        {"handle": [{"handler": "vars", "service": service}]},
        {"match": [{**through, "not": [here]}], "handle": [{"handler": "vars", "service": elsewhere}]},
        {"match": [{"path": ["/", PREFIX]}], "handle": [_redirect(f"{PREFIX}/")], "terminal": True},
        {"match": [{"not": [{"path": [f"{PREFIX}/*"]}]}], "handle": [_refusal(404)], "terminal": True},
        {"match": [{"path": [f"{PREFIX}{SIGN_OUT}"]}], "handle": [sign_out], "terminal": True},
        {"handle": [_headers_removed(), _closed_to_other_pages()]},
        {"match": [_OF_ANOTHER_PAGE], "handle": [_refusal(403)], "terminal": True},
        {"match": [{"not": [{"path": list(_FOR_ALL)}]}], "handle": [_authenticated(sign_in)]},
        {
            "match": [{"path": [f"{PREFIX}/"], **_NO_QUERY}],
            "handle": [_redirect(f"{{http.request.header.{HOME_HEADER}}}")],
            "terminal": True,
        },
        {"handle": [_cookies_removed()]},
        # Whoever opens a notebook in a browser sees it; whoever fetches or downloads it gets the file.
        {
            "match": [
                {"method": ["GET"], "path": ["*.ipynb"], "header": {"Sec-Fetch-Dest": ["document"]}, **_NO_QUERY}
            ],
            "handle": [_proxy(preview)],
            "terminal": True,
        },
        {"handle": [_proxy(files)]},
    ]


def _headers_removed() -> Route:
    """Nobody says of themselves who they are."""
    return {"handler": "headers", "request": {"delete": ["X-Cygnet-*", f"{{env.{KEY_VARIABLE}}}"]}}


def _closed_to_other_pages() -> Route:
    policy = {"X-Frame-Options": ["SAMEORIGIN"], "Cross-Origin-Opener-Policy": ["same-origin"]}
    return {"handler": "headers", "response": {"set": policy, "delete": ["Access-Control-*"], "deferred": True}}


def _cookies_removed() -> Route:
    replaced = {"Cookie": [{"search_regexp": _COOKIES, "replace": ""}]}
    return {"handler": "headers", "request": {"delete": ["Authorization", HOME_HEADER], "replace": replaced}}


def _authenticated(sign_in: str) -> Route:
    """Asks the hub's service whose cookies these are; who is nobody is sent to it, and everyone else gets a name."""
    page = f"{_SERVICE}{SIGN_IN_PAGES[0]}?next={{http.request.orig_uri}}"
    named = {
        **{header: [f"{{http.reverse_proxy.header.{header}}}"] for header in (USER_HEADER, GROUPS_HEADER, HOME_HEADER)},
        f"{{env.{KEY_VARIABLE}}}": ["1"],
    }
    return {
        **_proxy(sign_in),
        "rewrite": {"method": "GET", "uri": _WHO},
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
                    {"match": [{"method": ["GET"]}], "handle": [_redirect(page)], "terminal": True},
                    {"handle": [_refusal(401)]},
                ],
            },
        ],
    }


def _proxy(address: str) -> Route:
    return {"handler": "reverse_proxy", "upstreams": [{"dial": address}]}


def _redirect(location: str) -> Route:
    # A browser that remembered it would go on when somebody else is signed in.
    headers = {"Location": [location], "Cache-Control": ["no-store"]}
    return {"handler": "static_response", "status_code": 302, "headers": headers}


def _refusal(status: int) -> Route:
    return {"handler": "static_response", "status_code": status}
