"""Speed of the toy world beside C and torch, of `llm` beside TRL: `make bench`, or `python -m benchmarks --help`."""
