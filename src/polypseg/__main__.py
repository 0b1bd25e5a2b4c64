"""`python -m polypseg` and the `polypseg` command."""


def main() -> None:
    """Run the command line."""
    from polypseg.cli import app

    app()


if __name__ == "__main__":
    main()
