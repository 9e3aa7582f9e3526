"""`rushes`: the entry point. It imports nothing until it can handle Ctrl-C."""

import sys

INTERRUPTED = 130


def run() -> None:
    """Run the command line of this process and exit with its code."""
    try:
        from cli.app import main  # noqa: PLC0415 - half a second of imports, in which people press Ctrl-C too

        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)
