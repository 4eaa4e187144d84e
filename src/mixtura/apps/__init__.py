"""Leaves: programs and views on top of the library; no other module imports them when it loads."""
