"""The command line, and all that starts a conversion or a training somewhere."""
