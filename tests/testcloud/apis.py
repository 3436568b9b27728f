"""Services of the cloud of which openstacksdk knows two versions, as the one that the cloud has."""

from openstack.block_storage.v3._proxy import Proxy as BlockStorage
from openstack.connection import Connection
from openstack.identity.v3._proxy import Proxy as Identity
from openstack.image.v2._proxy import Proxy as Image


def identity(cloud: Connection) -> Identity:
    """Keystone."""
    assert isinstance(cloud.identity, Identity)
    return cloud.identity


def image(cloud: Connection) -> Image:
    """Glance."""
    assert isinstance(cloud.image, Image)
    return cloud.image


def block_storage(cloud: Connection) -> BlockStorage:
    """Cinder."""
    assert isinstance(cloud.block_storage, BlockStorage)
    return cloud.block_storage
