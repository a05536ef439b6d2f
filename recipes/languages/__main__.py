"""`python -m stable_cascade_nodes.recipes.languages`: write `locales/` anew."""

import sys

from . import LANGUAGES, LOCALES, files, problems

if found := [line for language in LANGUAGES for line in problems(language)]:
    sys.exit("\n".join(found))
for language in LANGUAGES:
    (LOCALES / language).mkdir(parents=True, exist_ok=True)
    for name, text in files(language).items():
        (LOCALES / language / name).write_text(text, encoding="utf-8")
