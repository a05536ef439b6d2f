"""What is made of the shipped workflows: their places on the page, app forms and blueprints. One source, workflows/.

python -m stable_cascade_nodes.recipes.workflows     # all of it anew, after a workflow was changed
"""
