#!/bin/sh
# Builds the programs of this folder for Windows with mingw, to be run by the tests (natively or under wine), which find
# them through SIDELOOP_C_PROGRAMS.
#
# build-windows.sh <folder with sideloop.dll> <output folder>
set -eu
here=$(cd "$(dirname "$0")" && pwd)
library=$1
output=$2
prefix=${MINGW:-x86_64-w64-mingw32}
mkdir -p "$output"
cp "$library/sideloop.dll" "$output/"

for source in "$here"/*.c; do
    name=$(basename "$source" .c)
    include=$here/../../include
    if [ "$name" = abi_first ]; then
        include=$here/abi-1
    fi
    # winpthreads goes into the program, so that it needs nothing but the system and the library.
    "$prefix-gcc" -std=c11 -O1 -g -Wall -Wextra -Wpedantic -Werror -I "$include" -I "$here" "$source" \
        -o "$output/$name.exe" -L "$library" -l:sideloop.dll -Wl,-Bstatic -lpthread -Wl,-Bdynamic -lws2_32
done

if command -v "$prefix-g++" >/dev/null; then
    "$prefix-g++" -std=c++17 -O1 -g -Wall -Wextra -Wpedantic -Werror -I "$here/../../include" "$here/cxx17.cpp" \
        -o "$output/cxx17.exe" -static-libgcc -static-libstdc++ -L "$library" -l:sideloop.dll
else
    echo "skipped: cxx17: $prefix-g++ is not installed"
fi
