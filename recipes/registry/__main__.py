"""`python -m stable_cascade_nodes.recipes.registry`: draw the pictures anew."""

from . import BANNER, ICON, banner, icon, models

cascade = models()
icon(cascade).save(ICON, optimize=True)
banner(cascade).save(BANNER, optimize=True)
