#!/bin/sh
# Makes the resources that Apple's Swift package StableDiffusion opens of this bundle's Core ML
# packages: each compiled to a .mlmodelc, with vocab.json and merges.txt beside them.
#
#     sh make_resources.sh [FOLDER]
#
# FOLDER is new; Resources in this bundle where none is given. Needs a Mac with Xcode, whose
# coremlcompiler there is on no other system.

set -eu

fail() {
    echo "make_resources.sh: $1" >&2
    exit 1
}

[ $# -le 1 ] || fail "takes one folder at most, not $#."
bundle=$(cd "$(dirname "$0")" && pwd)
output=${1:-$bundle/Resources}
output=${output%/}

[ ! -e "$output" ] && [ ! -L "$output" ] || fail "$output exists; give another folder, or move it."
command -v xcrun >/dev/null 2>&1 ||
    fail "there is no xcrun, which comes with Xcode on a Mac; run this there."
xcrun --find coremlcompiler >/dev/null 2>&1 ||
    fail "xcrun finds no coremlcompiler, which comes with Xcode, not with its command line tools."

for text in vocab.json merges.txt; do
    [ -f "$bundle/swift/$text" ] || fail "$bundle/swift lacks $text."
done

partial=$(mktemp -d "$output.XXXXXX") || fail "can't write beside $output."
trap 'rm -rf "$partial"' EXIT
trap 'exit 130' HUP INT TERM

for package in "$bundle"/*/*.mlpackage; do
    [ -d "$package" ] || fail "$bundle holds no Core ML packages."
    name=$(basename "$package" .mlpackage)
    echo "$name"
    xcrun coremlcompiler compile "$package" "$partial" >/dev/null ||
        fail "coremlcompiler can't compile $package."
    [ -d "$partial/$name.mlmodelc" ] || fail "coremlcompiler made no $name.mlmodelc."
done
cp "$bundle/swift/vocab.json" "$bundle/swift/merges.txt" "$partial"

chmod 755 "$partial"
mv "$partial" "$output"
echo "wrote $output"
