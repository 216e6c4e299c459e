"""`python -m lbflask` is the command `lbflask`."""

from lbflask.cli import main

if __name__ == "__main__":
    main()
