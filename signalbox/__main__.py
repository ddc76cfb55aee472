"""`python -m signalbox`."""

from signalbox.cli import main

main()
