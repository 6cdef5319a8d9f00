"""``python -m autograde`` is the same command."""

from autograde.cli import main

main()
