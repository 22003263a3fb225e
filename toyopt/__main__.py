"""`python -m toyopt`."""

import sys

if __name__ == "__main__":
    from toyopt.cli import main

    sys.exit(main(sys.argv[1:]))
