"""The token ids and weights of ComfyUI's Stable Cascade tokenizer. Run by COMFYUI_PYTHON.

native_tokens.py COMFYUI_FOLDER --cpu: a JSON list of prompts on stdin -> for each its chunks of [id, weight] on stdout.
"""

import json
import sys


def main() -> None:
    sys.path[0] = sys.argv.pop(1)  # this script's folder -> ComfyUI's

    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.sdxl_clip import StableCascadeTokenizer

    tokenizer = StableCascadeTokenizer()
    print(json.dumps([tokenizer.tokenize_with_weights(text)["g"] for text in json.load(sys.stdin)]))


main()
