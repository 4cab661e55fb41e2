"""What the flex template's launcher starts: it takes a file, and no module."""

import sys

from launch import cli, flex

if __name__ == "__main__":
    sys.exit(cli.main(flex.arguments(sys.argv[1:])))
