"""Recipes of what ships. In the repository, not in the installed package."""
