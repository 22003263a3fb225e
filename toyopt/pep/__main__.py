"""`python -m toyopt.pep`."""

import sys

if __name__ == "__main__":
    from toyopt.pep.cli import main

    sys.exit(main(sys.argv[1:]))
