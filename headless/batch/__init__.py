"""Many rows through one workflow, on this machine or on many, resumable and to the same bytes (docs/batch.md)."""
