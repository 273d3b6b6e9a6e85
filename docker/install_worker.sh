#!/bin/sh
# Installs requirements/worker.txt into $VIRTUAL_ENV; torch and torchvision come from $TORCH_INDEX if it is set.
set -eu
uv venv "$VIRTUAL_ENV"
if [ -z "${TORCH_INDEX:-}" ]; then
    exec uv pip install --require-hashes --requirement requirements/worker.txt
fi
# A requirement begins at the margin, its hashes are indented. Without torch, and without what only CUDA needs.
awk '/^[a-z]/ { keep = $0 !~ /^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/ } keep' \
    requirements/worker.txt > requirements/without_torch.txt
uv pip install --require-hashes --requirement requirements/without_torch.txt
version() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" requirements/worker.txt | head -n 1; }
uv pip install --no-deps --index-url "$TORCH_INDEX" "torch==$(version torch)" "torchvision==$(version torchvision)"
