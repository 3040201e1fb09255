"""The `emotify` command, and `python -m emotify`."""

from emotify import stopping


def main() -> None:
    """Run the command line. A signal can come while it is loaded, so what takes these comes first."""
    stopping.listen()
    from emotify import cli

    cli.main()


if __name__ == "__main__":
    main()
