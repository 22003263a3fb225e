"""`python -m toyopt`."""

import sys

if __name__ == "__main__":
    try:
        from toyopt.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # while modules are loaded
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
