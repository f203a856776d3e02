"""Random programs under random plans, and wrong rewrites that must be noticed."""
