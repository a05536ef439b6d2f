#!/bin/sh
# All that needs a GPU, in at most nine minutes: benchmarks/gpu.sh [OUT] [quick]
#
# Lines of JSON go to OUT/gpu.jsonl (default benchmarks/results) as they become known, what programs say besides to
# OUT/gpu.log. PYTHON names the Python (default python3); it needs torch with CUDA and what requirements.txt names, and
# diffusers to be compared with. COMFYUI_PATH names a ComfyUI whose memory manager is measured too. With `quick` what
# takes long is left out. On a CPU, with narrow networks, `tiny` instead shows that the script runs.
out=${1:-benchmarks/results}
how=${2:-whole}
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$out"
export OUT_FILE="$out/gpu.jsonl" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
python=${PYTHON:-python3}
if ! "$python" -c "import stable_cascade_nodes" 2>/dev/null; then
    place=$(mktemp -d)
    ln -s "$PWD" "$place/stable_cascade_nodes"
    export PYTHONPATH="$place${PYTHONPATH:+:$PYTHONPATH}"
fi

# section SECONDS ARGUMENTS...: one part in a process of its own; what fails or takes too long costs itself alone
section() {
    limit=$1
    shift
    timeout -k 5 "$limit" "$python" -m stable_cascade_nodes.benchmarks "$@" --out "$OUT_FILE" 2>>"$out/gpu.log"
    code=$?
    [ $code -eq 0 ] || echo "{\"section\": \"$1\", \"what\": \"ended\", \"code\": $code}" | tee -a "$OUT_FILE"
}

comfyui() {
    [ -n "$COMFYUI_PATH" ] || return 0
    timeout -k 5 "$1" "$python" benchmarks/memory_in_comfyui.py "$COMFYUI_PATH" $2 2>>"$out/gpu.log" |
        sed 's/^{/{"section": "comfyui", /' | tee -a "$OUT_FILE"
}

case $how in
whole)
    section 40 device
    section 170 pair
    section 60 pair --pair small --peers diffusers --modes off graphs
    section 60 large
    section 50 training
    section 40 moving
    section 25 text
    section 60 world
    comfyui 60
    ;;
quick)
    section 40 device
    section 60 pair --images 1 --modes off graphs --peers diffusers --seconds 0.5
    section 40 world
    comfyui 40 "--steps 2"
    ;;
tiny)
    for each in device pair large training moving text world; do
        section 300 $each --device cpu --pair tiny --size 128 --seconds 0.2 --modes off graphs --peers diffusers
    done
    comfyui 120 "--preset tiny --steps 2 -- --cpu"
    ;;
esac
