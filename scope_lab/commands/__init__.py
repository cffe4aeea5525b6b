"""The subcommands of `scope-lab`, a module each or two; flags.py has what they share."""
