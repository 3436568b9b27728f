"""How a service is declared: one Pulumi component per part."""
