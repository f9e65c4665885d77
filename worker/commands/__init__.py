"""
One module for each command of cli.COMMANDS.

EXAMPLES stands below its help, `add_arguments(parser)` says what it takes, `run(args)` returns the exit code.
"""
