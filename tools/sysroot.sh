#!/bin/sh
# AArch64 libraries for the cross build, unpacked into build-sysroot-arm64 by apt and dpkg-deb with a state folder of their
# own: the system's package database learns of no second architecture.
#
#   tools/sysroot.sh LIBRARY-DEV-PACKAGE...
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build-sysroot-arm64
want="$root/packages: $*"
[ -f "$root/done" ] && [ "$(cat "$root/done")" = "$want" ] && exit 0
rm -rf "$root"
mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
: >"$root/apt/status"
cat >"$root/apt/conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$root/apt";
Dir::State::status "$root/apt/status";
Dir::Cache "$root/apt";
END
export APT_CONFIG="$root/apt/conf"
apt-get update
apt-get install -y --no-install-recommends --download-only "$@"
for deb in "$root"/apt/archives/*.deb; do
    case $(basename "$deb") in # the cross compiler brings its own
    libc6-dev_* | linux-libc-dev_* | libc-dev-bin_*) continue ;;
    esac
    echo "unpacking $(basename "$deb")"
    dpkg-deb -x "$deb" "$root"
done
rm -rf "$root/apt"
printf "[constants]\nroot = '%s'\n" "$root" >"$root/root.ini"
echo "$want" >"$root/done"
