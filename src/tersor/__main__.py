"""`python -m tersor` is the command `tersor`."""

from tersor.cli import main

main()
