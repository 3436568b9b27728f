"""The hub's own configuration: what /etc/cygnet says, as settings of JupyterHub and its spawner."""
