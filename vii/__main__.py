"""`python -m vii`."""

from .cli import main

main()
