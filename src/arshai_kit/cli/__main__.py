"""`python -m arshai_kit.cli` is `arshai-kit`."""

from arshai_kit.cli import main

main()
