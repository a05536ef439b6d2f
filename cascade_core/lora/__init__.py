"""LoRA files of every dialect: read, fitted to a model, attached to it, written; and the tokens that they bring."""
