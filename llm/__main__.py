"""`python -m llm`."""

import sys

from llm import check_installed

if __name__ == "__main__":
    check_installed()
    from llm.cli import main

    sys.exit(main(sys.argv[1:]))
