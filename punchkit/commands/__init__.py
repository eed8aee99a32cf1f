"""What each command does, one room for each kind; `cli.py` reads the command line and calls them.

A command is `async def name(args, terminal) -> int`: it returns the exit status, or raises a PunchkitError, which
`cli.py` tells the user.
"""
