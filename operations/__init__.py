"""What an operator does besides `pulumi up`: one file per command of `cygnet`."""
