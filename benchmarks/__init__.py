"""Speed of the toy world beside C and torch, measured in one run: `make bench`, or `python -m benchmarks --help`."""
