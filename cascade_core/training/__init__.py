"""Training: a folder of pictures to a LoRA, a ControlNet or a fine-tuned stage, stopped and resumed at will.

`setting`, `settings` and `kinds` describe trainings for people, without torch. `dataset`, `buckets`, `cache` and
`examples`, or `prompts` and `trajectories`, are what they learn from; `lora`, `controlnet`, `stages` and `distill` are
the tasks; `loop` takes the steps, `state` saves them, `run_log` shows them, and `run` joins all of it in a folder of
its own.
"""
