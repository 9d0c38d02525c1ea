"""``python -m numpro`` is the command ``numpro``."""

from numpro.cli import main

if __name__ == "__main__":
    main(prog_name="numpro")
