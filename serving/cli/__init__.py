"""The command ``millrace``: one file a command."""
