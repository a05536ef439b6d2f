#!/bin/sh
# The recipe by the clock, where nothing of this repository is installed but a python3 with torch: see __main__.py for
# the options, which are passed on. Works on a copy of this tree, so that the tree keeps its weights:
#     sh recipes/tiny/gpu.sh --smoke --out DIR
#     sh recipes/tiny/gpu.sh --seconds 330 --out DIR
set -e
root=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/stable_cascade_nodes"
tar -C "$root" -cf - __init__.py cascade_core recipes nodes runtime headless | tar -C "$place/stable_cascade_nodes" -xf -
PYTHONPATH="$place" PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 "${PYTHON:-python3}" -m stable_cascade_nodes.recipes.tiny "$@"
