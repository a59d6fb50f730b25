"""The command line: one module for each subcommand, loaded only when it is called."""
