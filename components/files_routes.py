"""How the gateway treats the page of files: Caddy's routes, at the page's own port and at the service's."""

from components import guarded
from components.copyparty import GROUPS_HEADER, KEY_VARIABLE, PREFIX, SHARES, SIGN_OUT, USER_HEADER
from components.guarded import NO_QUERY, SERVICE, Route, proxy, redirect

SIGN_IN_PAGES = guarded.sign_in_pages(PREFIX)
HOME_HEADER = "X-Cygnet-Home"
# Links that open without sign-in, and the looks of the page.
_FOR_ALL = (f"{PREFIX}{SHARES}/*", f"{PREFIX}/.cpr/*")
_KEY = f"{{env.{KEY_VARIABLE}}}"
# copyparty 1.20 takes no other names of parameters, and control characters in the values of these three only: it calls
# whoever sends them malicious and fails (500).
_QUERY = r"(?i)^(?:(?:(?:doc|move|tree)=[^&]*|[\w-]*(?:=(?:[^&%]|%[2-689a-f][0-9a-f]|%7[0-9a-e])*)?)(?:&|$))*$"
# Its list of everyone's uploads, which is off (`no-ups-page`): it would call that a failure, too.
_RECENT = "ru"


def at_service(service_port: int, page_port: int, sign_in: str) -> list[Route]:
    """Below /files/ at the service's own address: signing in, and a way to the page.

    Args:
        service_port: HTTPS port of the service, for users.
        page_port: Of the page.
        sign_in: Where the hub's service answers, "name:port".
    """
    return guarded.at_service(PREFIX, service_port, page_port, sign_in)


def at_page(service_port: int, page_port: int, *, sign_in: str, files: str, preview: str) -> list[Route]:
    """All of the page's own address.

    Args:
        service_port: HTTPS port of the service, where people sign in.
        page_port: Of the page.
        sign_in: Where the hub's service answers, "name:port".
        files: Where copyparty answers.
        preview: Where notebooks are shown.
    """
    sign_out = redirect(f"{SERVICE}/hub/logout")
    who = guarded.authenticated(
        PREFIX, sign_in, headers=(USER_HEADER, GROUPS_HEADER, HOME_HEADER), set_headers={_KEY: ["1"]}
    )
    return [
        *guarded.beginning(PREFIX, service_port, page_port),
        {"match": [{"path": [f"{PREFIX}{SIGN_OUT}"]}], "handle": [sign_out], "terminal": True},
        *guarded.closed_to_other_pages(_KEY),
        {
            "match": [{"not": [{"vars_regexp": {"{http.request.uri.query}": {"pattern": _QUERY}}}]}],
            "handle": [guarded.refusal(400)],
            "terminal": True,
        },
        {"match": [{"query": {_RECENT: ["*"]}}], "handle": [guarded.refusal(404)], "terminal": True},
        {"match": [{"not": [{"path": list(_FOR_ALL)}]}], "handle": [who]},
        {
            "match": [{"path": [f"{PREFIX}/"], **NO_QUERY}],
            "handle": [redirect(f"{{http.request.header.{HOME_HEADER}}}")],
            "terminal": True,
        },
        {"handle": [guarded.without_credentials("files", HOME_HEADER)]},
        # Whoever opens a notebook in a browser sees it; whoever fetches or downloads it gets the file.
        {
            "match": [{"method": ["GET"], "path": ["*.ipynb"], "header": {"Sec-Fetch-Dest": ["document"]}, **NO_QUERY}],
            "handle": [proxy(preview)],
            "terminal": True,
        },
        {"handle": [proxy(files)]},
    ]
