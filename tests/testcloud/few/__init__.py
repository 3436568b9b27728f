"""A Pulumi program of servers that are only said to be there, with what a stack has around them."""
