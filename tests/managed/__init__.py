"""The service in a cluster of others, which is made first: Kubernetes on two machines, without a service."""
