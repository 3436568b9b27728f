"""JupyterHub reads this file; all it says is made and tested in cygnet_hub."""

from cygnet_hub.config import configuration
from cygnet_hub.settings import read_secrets, read_settings

c = get_config()  # noqa: F821 - JupyterHub's
c.merge(configuration(read_settings(), read_secrets()))
