"""``python -m numpro`` is the command ``numpro``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="numpro")
