"""Training: pictures or latents to a LoRA, a ControlNet or a stage, stopped and resumed at will.

`setting`, the files of settings, `architecture` and `kinds` describe trainings for people, without torch. `data/` is
what they learn from, `trajectories` what a teacher adds to prompts; `lora`, `controlnet`, `stages` and `distill` are
the tasks, `from_scratch` a new Stage C; `loop` takes the steps, `state` saves them, `validation`, `run_log` and
`report` show them, and `run` joins all of it in a folder of its own.
"""
