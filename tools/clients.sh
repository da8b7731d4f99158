#!/bin/sh
# Installs the clients of tools/clients.txt into the folder $1: one folder below it for each of the table's, with Python packages from
# PyPI or JavaScript packages and agents from npm. What is there already is kept.
set -eu
table=$PWD/tools/clients.txt
cd "$1"

# packages FOLDER MARK: its packages with their versions behind the mark, and a list by which a folder is known to be complete
packages()
{
    awk -v folder="$1" -v mark="$2" '$1 == folder {print $2 mark $3}' "$table"
}

for folder in $(awk '/^[^#]/ {print $1}' "$table" | sort -u); do
    case $folder in
    python*) mark="==" ;;
    *) mark="@" ;;
    esac
    list=$(packages "$folder" "$mark")
    if [ "$list" = "$(cat "$folder/installed" 2>/dev/null)" ]; then
        continue
    elif [ $mark = "==" ]; then
        [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
        "$folder/bin/pip" install -q $list
    elif command -v npm >/dev/null; then
        mkdir -p "$folder"
        (
            cd "$folder"
            [ -f package.json ] || npm init -y >/dev/null
            npm install --no-audit --no-fund $list
            # Their own set-up scripts, which newer versions of npm do not run by themselves.
            for script in @anthropic-ai/claude-code/install.cjs opencode-ai/postinstall.mjs; do
                [ ! -f "node_modules/$script" ] || (cd "node_modules/${script%/*}" && node "${script##*/}")
            done
        )
    else
        echo "npm is absent: the clients of $folder are left out"
        continue
    fi
    echo "$list" >"$folder/installed"
done
