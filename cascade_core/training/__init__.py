"""Training: a folder of pictures to a LoRA, a ControlNet or a fine-tuned stage, stopped and resumed at will.

`loop` takes the steps and `state` keeps them; `dataset`, `buckets` and `cache` are what it learns from; `lora`,
`controlnet` and `stages` say what learns what; `run` joins them in a folder of its own.
"""
