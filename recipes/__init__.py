"""How what ships is made. In the repository, not in the installed package."""
