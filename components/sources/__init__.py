"""Where machines come from: made on this host, made in an OpenStack cloud, or there already."""
