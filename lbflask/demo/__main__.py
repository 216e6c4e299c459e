"""A demo backend: `python -m lbflask.demo [--host HOST] PORT`."""

import sys

from lbflask.demo.backend import main

main(sys.argv[1:])
