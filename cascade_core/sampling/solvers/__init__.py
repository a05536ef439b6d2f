"""Solvers: how one prediction after another becomes a picture. A file for each line of papers."""
