#!/bin/sh
# Installs the clients of tests/clients into the folder $1: Python packages from PyPI, JavaScript packages and agents from npm.
# What is there already is kept.
set -eu
cd "$1"
if [ ! -x venv/bin/python ]; then
    python3 -m venv venv
fi
venv/bin/pip install -q openai anthropic litellm mcp playwright
if command -v npm >/dev/null; then
    mkdir -p node
    cd node
    [ -f package.json ] || npm init -y >/dev/null
    npm install --no-audit --no-fund openai @anthropic-ai/sdk ai @ai-sdk/openai-compatible @anthropic-ai/claude-code @openai/codex \
        opencode-ai @qwen-code/qwen-code
    # Their own set-up scripts, which newer versions of npm do not run by themselves.
    (cd node_modules/@anthropic-ai/claude-code && [ ! -f install.cjs ] || node install.cjs)
    (cd node_modules/opencode-ai && [ ! -f postinstall.mjs ] || node postinstall.mjs)
else
    echo "npm is absent: the clients in JavaScript are left out"
fi
