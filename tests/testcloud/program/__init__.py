"""A Pulumi program of machines alone, which a test brings up in the test cloud."""
