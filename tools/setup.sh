#!/bin/sh
# The steps behind the Makefile. Each prints one line, does nothing when there is nothing to do, says every few seconds that
# it still works, and fails with one sentence that tells what to do.
#
#   tools/setup.sh packages GROUP...        Debian packages of tools/packages.txt
#   tools/setup.sh build VARIANT [TARGET]   configure and compile build[-VARIANT]
#   tools/setup.sh test VARIANT [ARG...]    run its tests, end with the counts; ARG goes to `meson test`
#   tools/setup.sh tidy                     clang-tidy with the compile commands of build-clang
#   tools/setup.sh install                  of the plain build, to $DESTDIR$PREFIX
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build-logs
mkdir -p "$logs" || exit 1

fail()
{
    echo "$1" >&2
    exit 1
}

# step LABEL LOG COMMAND...: the command's output goes to the log. Past two seconds it shows progress: the log's last line,
# redrawn every half second on a terminal, every 20 seconds elsewhere.
step()
{
    label=$1 log=$2
    shift 2
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    trap 'kill $pid 2>/dev/null; wait $pid; echo; exit 130' INT TERM
    ticks=0
    while kill -0 $pid 2>/dev/null; do
        sleep 0.1
        ticks=$((ticks + 1))
        if [ -t 1 ]; then
            [ $ticks -gt 20 ] && [ $((ticks % 5)) = 0 ] &&
                printf '\r\033[K%s: %ss %.60s' "$label" $((ticks / 10)) "$(tail -n 1 "$log" | tr -d '\r\033')"
        elif [ $ticks = 20 ] || [ $((ticks % 200)) = 0 ]; then
            printf '%s: %.60s ...\n' "$label" "$(tail -n 1 "$log" | tr -d '\r')"
        fi
    done
    [ -t 1 ] && [ $ticks -gt 20 ] && printf '\r\033[K'
    trap - INT TERM
    wait $pid
}

packages()
{
    missing=
    for group; do
        for p in $(awk -v g="$group" '$1 == g {print $2}' tools/packages.txt); do
            dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q ' installed$' || missing="$missing $p"
        done
    done
    if [ -z "$missing" ]; then
        echo "packages: all present"
        return
    fi
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    if ! command -v apt-get >/dev/null; then
        fail "packages: no apt-get on this system; install what Debian calls:$missing"
    elif [ -n "$as_root" ] && ! sudo -n true 2>/dev/null && { [ ! -t 0 ] || ! sudo -v; }; then
        fail "packages: not permitted to install; ask an administrator for: apt-get install$missing"
    fi
    echo "packages: installing$missing"
    step "packages: reading lists" $logs/packages.log $as_root apt-get update ||
        echo "packages: the package lists could not be refreshed (see $logs/packages.log); trying with the old ones"
    step "packages: installing" $logs/packages.log $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing ||
        fail "packages: apt-get failed; read $PWD/$logs/packages.log, then run: apt-get install$missing"
    touch $logs/packages.stamp # build folders older than this look for their libraries again
    echo "packages: installed$missing"
}

# Sets dir, options (of meson setup) and selection (of meson test) for a variant.
variant()
{
    dir=build-$1 cc=cc selection=
    options="-Dwerror=true"
    case $1 in
    plain) dir=build options= ;;
    clang) cc=clang-14 selection="--setup compiler" ;;
    asan)
        cc=clang-14 # compiles the kernels three times as fast under the address sanitizer as gcc does
        options="-Dwerror=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Db_ndebug=false"
        selection="--setup sanitizers"
        ;;
    tsan)
        options="-Dbuildtype=debugoptimized -Db_sanitize=thread -Db_ndebug=false"
        selection="--setup threads"
        ;;
    aarch64)
        options="-Dwerror=true --cross-file build-sysroot-arm64/root.ini --cross-file cross/aarch64.ini"
        selection="--setup emulated"
        ;;
    baseline) dir=build options= selection="--setup baseline" ;;
    *) fail "setup: no build variant is called $1" ;;
    esac
}

build()
{
    name=$1
    variant "$name"
    shift
    if [ "$name" = aarch64 ]; then
        libraries=$(awk '$1 ~ /^(build|test)$/ && $2 ~ /^lib.*-dev$/ && $2 != "libc6-dev" {print $2}' tools/packages.txt)
        step "sysroot: AArch64 libraries" $logs/sysroot.log tools/sysroot.sh $libraries ||
            fail "sysroot: the AArch64 libraries could not be fetched; read $PWD/$logs/sysroot.log"
    fi
    if [ ! -f $dir/build.ninja ]; then
        CC=$cc step "build: configuring $dir" $logs/configure-$name.log meson setup $dir --prefix "$PREFIX" $options ||
            fail "build: configuration failed; read $PWD/$logs/configure-$name.log"
        echo "build: $dir configured"
    elif [ $logs/packages.stamp -nt $dir/build.ninja ]; then
        step "build: configuring $dir" $logs/configure-$name.log meson setup --reconfigure $dir ||
            fail "build: configuration failed; read $PWD/$logs/configure-$name.log, or start again with: make clean"
        echo "build: $dir configured for the new packages"
    fi
    step "build: compiling $dir" $logs/build-$name.log ninja -C $dir "$@" || {
        grep -E -m 5 'error:|undefined reference|ERROR' $logs/build-$name.log >&2
        fail "build: compilation failed; read $PWD/$logs/build-$name.log"
    }
    if grep -q -e ' Compiling ' -e ' Linking ' $logs/build-$name.log; then
        echo "build: $dir compiled"
    else
        echo "build: $dir up to date"
    fi
}

run_tests()
{
    name=$1
    variant "$name"
    shift
    echo "test: $name"
    rc=0
    meson test -C $dir --no-rebuild --print-errorlogs $selection "$@" || rc=$?
    python3 tools/count_tests.py $dir || [ $rc != 0 ] || rc=1
    [ $rc = 0 ] || fail "test: failed; read $PWD/$dir/meson-logs/testlog.txt"
}

command=${1:-}
[ $# -gt 0 ] && shift
: "${PREFIX:=/usr/local}"
case $command in
packages) packages "$@" ;;
build) build "$@" ;;
test) run_tests "$@" ;;
tidy)
    git ls-files '*.c' | grep -v -e /neon/ >$logs/tidy-files
    step "tidy" $logs/tidy.log xargs -a $logs/tidy-files -n 1 -P 2 clang-tidy-14 --quiet -p build-clang
    if grep -qE 'warning:|error:' $logs/tidy.log; then
        grep -hE 'warning:|error:' $logs/tidy.log | sort -u >&2
        fail "tidy: findings; read $PWD/$logs/tidy.log"
    fi
    echo "tidy: clean"
    ;;
install)
    meson configure build -Dprefix="$PREFIX" && step "install" $logs/install.log meson install -C build ||
        fail "install: failed; read $PWD/$logs/install.log"
    echo "install: done, under ${DESTDIR:-}$PREFIX"
    ;;
*) fail "setup: usage: tools/setup.sh packages|build|test|tidy|install ..." ;;
esac
