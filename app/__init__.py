"""The Gradio app: every workflow file as a tab, run as `cascade run` runs it."""
