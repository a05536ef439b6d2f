"""How the built-in weights are trained, and how their pictures are judged."""
