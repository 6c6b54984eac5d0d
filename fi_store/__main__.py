"""Makes `python -m fi_store` the same as `fi-store`."""

import sys

from fi_store.cli import main

if __name__ == "__main__":
    sys.exit(main())
