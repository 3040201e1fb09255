"""`python -m emotify`: the same as the `emotify` command."""

from emotify.cli import main

if __name__ == "__main__":
    main()
