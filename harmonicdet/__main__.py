"""`python -m harmonicdet` is `harmonicdet`."""

from harmonicdet.cli import app

if __name__ == "__main__":
    app(prog_name="harmonicdet")
