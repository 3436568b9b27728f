"""Sign-in at an OpenID Connect provider: its claims say who somebody is, and sessions get its tokens.

`oauthenticator` does OAuth; what is added here: addresses by discovery, names and groups as this service has them,
sign-out at the provider, and sessions that go on while the provider does not answer.

A provider at the service's own address (`internal_url`) is asked in the cluster, under the name that it has outside.
Browsers are sent to it by path: it works through a tunnel, whatever name and port that has.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from jupyterhub.utils import url_path_join
from oauthenticator.oauth2 import (
    OAuthCallbackHandler,
    OAuthenticator,
    OAuthLoginHandler,
    OAuthLogoutHandler,
)
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.web import HTTPError
from traitlets import Instance, Unicode, default

from cygnet_hub.access_token import AccessToken
from cygnet_hub.audit import Audited
from cygnet_hub.guests import Guests, followed
from cygnet_hub.rights import NotAdmittedError, Rights, admitted
from cygnet_hub.start import Refusal
from cygnet_hub.user_ids import NAME, NUMBERS, user_id

CHANGE = "change"
"""In the query of the address for signing in: `change=password` lets a Keycloak ask for a new one first."""
OUTSIDE: ContextVar[str] = ContextVar("outside", default="")
"""Under which address somebody signed in: a provider behind the gateway knows their tokens by that name only."""
TIMEOUT_SECONDS = 10
EXPIRES = "expires_at"
"""In what is kept of a sign-in: when the access token ends, in seconds since 1970."""


class SignIn(OAuthLoginHandler):
    """Sends a browser to the provider."""

    async def get(self) -> None:
        """Asks first whether it is there: whoever is sent away to nobody does not come back."""
        await self.authenticator.discover(again=True)
        super().get()

    def authorize_redirect(self, *arguments: Any, extra_params: dict[str, Any], **options: Any) -> None:
        """Says, in Keycloak's words, what else is to be done on the way."""
        if self.get_argument(CHANGE, "") == "password":
            extra_params["kc_action"] = "UPDATE_PASSWORD"
        super().authorize_redirect(*arguments, extra_params=extra_params, **options)


class Callback(OAuthCallbackHandler):
    """Where the provider sends a browser back to."""

    async def get(self) -> None:
        """Signs in, unless the provider or the user said no."""
        await self.authenticator.discover()
        OUTSIDE.set(seen_outside(self))
        try:
            await super().get()
        except (HTTPClientError, OSError) as error:
            raise self.authenticator.told_of(error) from error


class SignOut(OAuthLogoutHandler):
    """Signs out here, then at the provider, which sends the browser back."""

    _id_token = ""

    async def default_handle_logout(self) -> None:
        """Keeps, before it is forgotten, what tells the provider who signs out."""
        user = self.current_user
        if user and (state := await user.get_auth_state()):
            self._id_token = state.get("id_token") or ""
        await super().default_handle_logout()

    async def render_logout_page(self) -> None:
        """The provider's page; ours where it has none, or cannot be asked."""
        try:
            await self.authenticator.discover()
        except HTTPError:
            self.log.warning("Signed out here, and not at the provider, which does not answer")
        if not (self._id_token and self.authenticator.sign_out_url):
            await super().render_logout_page()
            return
        back = f"{seen_outside(self)}{url_path_join(self.hub.base_url, 'login')}"
        asked = {"id_token_hint": self._id_token, "post_logout_redirect_uri": back}
        self.redirect(f"{self.authenticator.sign_out_url}?{urlencode(asked)}")


class OidcAuthenticator(Audited, OAuthenticator):
    """Takes a provider's word for who somebody is."""

    login_handler = SignIn
    callback_handler = Callback
    logout_handler = SignOut

    issuer = Unicode(config=True, help="The provider's name for itself.")
    internal_url = Unicode(config=True, help="Scheme and address by which it is asked; empty: by its name.")
    groups_claim = Unicode(config=True, help="Claim that lists a user's groups.")
    uid_claim = Unicode(config=True, help="Claim that is the user's number; empty: it is made of the name.")
    rights: Any = Instance(Rights, (), config=True, help="Who may sign in, and who is an operator.")
    guests: Any = Instance(Guests, None, allow_none=True, config=True, help="Where machines are told who somebody is.")

    @staticmethod
    def told(settings: Any, secrets: Path) -> dict[str, Any]:
        """What of the hub's settings is for this kind, as traits; `secrets` is the folder of its secrets."""
        given = settings.auth
        authority = secrets / "oidc-certificate-authority"
        return {
            "issuer": given.issuer,
            "internal_url": given.internal_url or "",
            "client_id": given.client_id,
            "client_secret": (secrets / "oidc-client-secret").read_text(encoding="utf-8").strip(),
            "scope": list(given.scopes),
            "username_claim": given.name_claim,
            "groups_claim": given.groups_claim,
            "uid_claim": given.uid_claim or "",
            "login_service": given.provider,
            "enable_auth_state": True,
            # Whoever was barred at the provider is out here after so many seconds.
            "auth_refresh_age": 300,
            "http_request_kwargs": {"ca_certs": str(authority)} if authority.exists() else {},
        }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sign_out_url = ""
        self._renewals: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @default("http_client")
    def _default_http_client(self) -> AsyncHTTPClient:
        timeouts = {"connect_timeout": TIMEOUT_SECONDS, "request_timeout": TIMEOUT_SECONDS}
        return AsyncHTTPClient(force_instance=True, defaults=timeouts)

    def get_callback_url(self, handler: Any = None) -> str:
        """Where the provider sends the browser back to: where it is, through a tunnel, too."""
        return f"{seen_outside(handler)}{url_path_join(handler.hub.base_url, 'oauth_callback')}"

    async def discover(self, *, again: bool = False) -> None:
        """Learns the provider's addresses, when they are first needed: the hub starts without it.

        Args:
            again: Asks even if they are known.

        Raises:
            HTTPError: 503, it does not answer.
        """
        if self.token_url and not again:
            return
        try:
            known = await self.httpfetch(f"{self.issuer}/.well-known/openid-configuration", "discovering the provider")
        except (HTTPClientError, OSError) as error:
            raise self.told_of(error) from error
        if known["issuer"] != self.issuer:
            self.log.error("The provider at %s calls itself %s", self.issuer, known["issuer"])
            raise Refusal(
                503, f"Sign-in at {self.login_service} is not set up rightly; tell those who run this service."
            )
        self.authorize_url = self._for_browsers(known["authorization_endpoint"])
        self.userdata_url = known["userinfo_endpoint"]
        self.sign_out_url = self._for_browsers(known.get("end_session_endpoint", ""))
        self.token_url: str = known["token_endpoint"]

    def _for_browsers(self, url: str) -> str:
        """By path only, where the provider is at the address under which the browser came."""
        return urlunsplit(("", "", *urlsplit(url)[2:])) if self.internal_url else url

    async def fetch(self, req: HTTPRequest, *arguments: Any, **options: Any) -> Any:
        """Asks the provider; in the cluster with the headers that the gateway would give."""
        if self.internal_url:
            outside, inside = urlsplit(OUTSIDE.get() or req.url), urlsplit(self.internal_url)
            req.headers.update({"X-Forwarded-Proto": outside.scheme, "X-Forwarded-Host": outside.netloc})
            req.url = urlunsplit((inside.scheme, inside.netloc, *urlsplit(req.url)[2:]))
        return await super().fetch(req, *arguments, **options)

    def told_of(self, error: Exception) -> HTTPError:
        """What a user reads when the provider refused, or did not answer."""
        if is_refusal(error):
            return Refusal(403, f"{self.login_service} did not accept this sign-in. Start it again.")
        self.log.error("The provider %s does not answer: %s", self.issuer, error)
        return Refusal(
            503,
            f"Sign-in at {self.login_service} does not answer now. Try again in some minutes; sessions that run go on.",
        )

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """The user's name here, which is also that of the home.

        Raises:
            HTTPError: 403, the provider's name is of a form that names here have not. But for capital letters, which
                are the small ones, it is not changed into another one: two people could come to the same.
        """
        given = str(user_info.get(self.username_claim) or "")
        name = given.lower()
        # Before that: in Unicode the sign for kelvin is a capital k.
        if not (given.isascii() and NAME.fullmatch(name)):
            raise Refusal(
                403,
                f"Your name at {self.login_service} is {given[:64]!r}. Names here begin with a letter and have up to "
                "31 letters, digits and '-'. Ask those who run this service.",
            )
        return name

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """The groups of a user who may come in. Raises HTTPError 403 for who may not."""
        claims = auth_state[self.user_auth_state_key]
        listed = claims.get(self.groups_claim) or ()
        groups = {listed} if isinstance(listed, str) else {str(group) for group in listed}
        return set(admitted(self.user_info_to_username(claims), groups, self.rights)["groups"])

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Nobody is an administrator in JupyterHub's sense."""
        return {**auth_model, "admin": False}

    def build_auth_state_dict(self, token_info: dict[str, Any], user_info: dict[str, Any]) -> dict[str, Any]:
        """What is kept, encrypted, of a sign-in."""
        state: dict[str, Any] = super().build_auth_state_dict(token_info, user_info)
        return {**state, EXPIRES: time.time() + float(token_info.get("expires_in", 0)), "outside": OUTSIDE.get()}

    @followed
    async def refresh_user(self, user: Any, handler: Any = None, **_: Any) -> bool | dict[str, Any]:
        """Renews the tokens, and with them groups and rights.

        False: the provider says that the user has to sign in again. True: all stays, because it does not answer.

        Raises:
            NotAdmittedError: The user lost the groups that may sign in.
        """
        async with self._renewals[user.name]:  # a provider may take each refresh token once only
            state = await user.get_auth_state()
            if not state or not state.get("refresh_token"):
                return False
            asked = self.build_refresh_token_request_params(state["refresh_token"])
            try:
                await self.discover()
                OUTSIDE.set(state["outside"])
                fresh = await self.get_token_info(handler, asked)
                kept = {key: state[key] for key in ("refresh_token", "id_token") if state.get(key)}
                model: dict[str, Any] = await self._token_to_auth_model({**kept, **fresh})
            except NotAdmittedError:
                raise
            except (HTTPError, HTTPClientError, OSError) as error:
                if is_refusal(error):
                    self.log.info("%s has to sign in again: %s", user.name, error)
                    return False
                self.log.warning("The tokens of %s stay as they are: %s", user.name, error)
                return True
            if model["name"] != user.name:
                return False
            await user.save_auth_state(model["auth_state"])
            return model

    async def user_id(self, user: Any) -> int:
        """The number that stands for a user on machines.

        Raises:
            HTTPError: The provider gives none.
        """
        if not self.uid_claim:
            return user_id(user.name)
        claims = (await user.get_auth_state() or {}).get(self.user_auth_state_key, {})
        number = str(claims.get(self.uid_claim, ""))
        if not number.isdecimal() or int(number) not in NUMBERS:
            raise Refusal(
                403, f"{self.login_service} gives no number for {user.name}; tell those who run this service."
            )
        return int(number)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """Pages for signing in and out, and where a session gets its user's access token."""
        return [*super().get_handlers(app), (r"/api/access-token", AccessToken)]


def seen_outside(handler: Any) -> str:
    """The service's address as a browser has it. It is HTTPS there, whatever our own proxies speak with each other."""
    return f"https://{handler.request.host}"


def is_refusal(error: Exception) -> bool:
    """Whether the provider said no, and not nothing.

    >>> is_refusal(HTTPClientError(400)), is_refusal(HTTPClientError(599)), is_refusal(ConnectionRefusedError())
    (True, False, False)
    """
    code = getattr(error, "code", 0) or getattr(error, "status_code", 0)
    return 400 <= int(code) < 500 and code != 429
