"""How fast and how big a live stack is: `python -m benchmarks NAME --stack STACK`."""
