"""The entry point of the `emotify` command and of `python -m emotify`."""

from emotify import stopping


def main() -> None:
    """Run the command line. Install the signal handlers first, because a signal can arrive while modules load."""
    stopping.handle_signals()
    from emotify import cli

    cli.main()


if __name__ == "__main__":
    main()
