"""Asking an OpenStack cloud: a connection that is signed in, or an error that says what to do.

Pulumi's provider makes what a stack has in a cloud. Whatever only looks (the pre-flight, operations) asks here, with
the same account: the one that clouds.yaml or the environment says.
"""

import difflib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from keystoneauth1 import exceptions as identity
from keystoneauth1.access import AccessInfo
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack.config import OpenStackConfig as Clouds
from openstack.connection import Connection
from openstack.exceptions import ConfigException

from components.errors import CygnetError

if TYPE_CHECKING:  # it may ask here, too
    from components.sources.openstack import OpenStackConfig

SERVICES: Final = ("compute", "image", "network")
"""What a stack needs of any cloud, by type."""

_SECONDS: Final = 15.0  # that one request may take; without a limit, an address that drops packets costs minutes
_RETRIES: Final = 5  # of a request that a busy service refuses (503), each after twice the time
_KEY: Final = "cygnet:machines.openstack.cloud"


logging.getLogger("keystoneauth").addHandler(logging.NullHandler())  # what it would print stands in our errors


class CloudError(CygnetError):
    """A cloud that cannot be asked."""


def connect(config: "OpenStackConfig", services: Sequence[str] = SERVICES) -> Connection:
    """A connection to the cloud of a stack, signed in.

    Args:
        config: Says which cloud.
        services: Types of those that its catalogue must have, e.g. "block-storage".

    Raises:
        CloudError: The cloud is not known, is not reached, refuses the account, or lacks a service.
    """
    connection = Connection(config=_settings(config.cloud))
    _sign_in(connection)
    missing = [service for service in services if not has_service(connection, service)]
    if missing:
        region = connection.config.region_name or "any region"
        raise CloudError(
            f"{where(connection)}: the catalogue has no {' and no '.join(missing)} service for {region}. See "
            "'openstack catalog list'; a wrong region_name, in clouds.yaml or OS_REGION_NAME, shows like this, too."
        )
    return connection


def has_service(connection: Connection, service: str) -> bool:
    """Whether the cloud's catalogue has a service of this type, where the account looks for it."""
    settings = connection.config
    region, interface = settings.get_region_name(service), settings.get_interface(service)
    try:
        found = connection.session.get_endpoint(service_type=service, interface=interface, region_name=region)
    except identity.EndpointNotFound:
        return False
    return found is not None


def access(connection: Connection) -> AccessInfo:
    """What the account is in the cloud: its project and its roles there."""
    plugin = connection.session.auth
    if not isinstance(plugin, BaseIdentityPlugin):
        raise CloudError(f"{where(connection)}: an account of Keystone is needed; see auth_type in clouds.yaml")
    return plugin.get_access(connection.session)


def where(connection: Connection) -> str:
    """The cloud, as a person would name it: by its name in clouds.yaml and the address of its Keystone."""
    name, url = connection.config.name, _auth(connection).get("auth_url")
    return f"cloud {name} ({url})" if name != "envvars" else f"the cloud of the environment ({url})"


def _settings(name: str | None) -> Any:
    """What clouds.yaml, or the environment, says of a cloud."""
    try:
        clouds = Clouds()
        if name is None and not {"OS_CLOUD", "OS_AUTH_URL"} & set(os.environ):
            raise CloudError(
                f"{_KEY}: no cloud is named, and the environment names none. Give its name in clouds.yaml, or read the "
                "file of OS_* variables that the cloud's web page offers: source openrc.sh"
            )
        named = name or os.environ.get("OS_CLOUD")
        if named and named not in clouds.get_cloud_names():
            raise CloudError(_unknown(named, clouds))
        return clouds.get_one(name, api_timeout=_SECONDS, status_code_retries=_RETRIES)
    except ConfigException as error:
        raise CloudError(f"{_KEY}: clouds.yaml cannot be used: {error}. Correct that file.") from error
    except identity.MissingRequiredOptions as error:
        raise CloudError(
            f"{_KEY}: the account is not complete: {error}. Add it to clouds.yaml, or to the OS_* variables."
        ) from error


def _unknown(name: str, clouds: Clouds) -> str:
    if not clouds.config_filename:
        return (
            f"{_KEY}: no clouds.yaml that can be read has cloud {name}. Write ~/.config/openstack/clouds.yaml (the "
            "cloud's web page offers it under API access), or name its place: export OS_CLIENT_CONFIG_FILE=FILE"
        )
    known = sorted(clouds.get_cloud_names())
    near = difflib.get_close_matches(name, known, n=1)
    cure = f"did you mean {near[0]}?" if near else f"it has: {', '.join(known)}"
    return f"{_KEY}: {clouds.config_filename} has no cloud {name}; {cure}"


def _sign_in(connection: Connection) -> None:
    cloud = where(connection)
    try:
        access(connection)
    except identity.Unauthorized as error:
        given = _auth(connection)
        user = given.get("username") or given.get("user_id") or given.get("application_credential_id")
        project = given.get("project_name") or given.get("project_id")
        raise CloudError(
            f"{cloud} refuses {user}{f' in project {project}' if project else ''}: wrong name, password or project, or "
            "an application credential that has expired. Correct clouds.yaml or the OS_* variables, and try: "
            "openstack token issue"
        ) from error
    except identity.SSLError as error:
        raise CloudError(
            f"{cloud}: its certificate is not trusted ({error}). Name the authority that signed it: cacert in "
            "clouds.yaml, or OS_CACERT"
        ) from error
    except (identity.ConnectionError, identity.DiscoveryFailure, identity.NotFound) as error:
        raise CloudError(
            f"{cloud} is not reached: {_reason(error)}. See whether auth_url is right, and whether this computer's "
            "network, VPN or proxy leads there; try: openstack token issue"
        ) from error
    except CloudError:
        raise
    except Exception as error:  # keystoneauth says with a bare one that there is no password
        raise CloudError(f"{cloud} does not let the account sign in: {error}. Try: openstack token issue") from error


def _reason(error: BaseException) -> str:
    """What happened, without the layers through which it was told.

    >>> _reason(OSError(111, "Connection refused"))
    'Connection refused'
    """
    if isinstance(error, identity.ConnectTimeout):
        return f"no answer within {_SECONDS:.0f} s"
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _auth(connection: Connection) -> dict[str, Any]:
    """How the account signs in, as clouds.yaml has it."""
    given: dict[str, Any] = connection.config.get_auth_args()
    return given
