"""JupyterHub reads this file; all it says is made and tested in cygnet_hub."""

from cygnet_hub.config import configuration
from cygnet_hub.kept import encrypt_anew
from cygnet_hub.links import refuse_broken
from cygnet_hub.settings import read_secrets, read_settings

c = get_config()  # noqa: F821 - JupyterHub's
secrets = read_secrets()
c.merge(configuration(read_settings(), secrets))
encrypt_anew(c.JupyterHub.db_url, secrets.crypt_keys)
refuse_broken()
