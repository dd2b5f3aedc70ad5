# What the check scripts share: where the project is, how a missing tool is had, and which compiler serves other platforms.
# Sourced, not run. A check ends with 0 (passed), 77 (not run: a tool is missing, and it has said which) or another (failed).

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

note() { printf -- '-- %s\n' "$*"; }

not_run() {
    printf -- '-- not run: %s\n' "$*" >&2
    exit 77
}

there() { [[ -e $1 ]] || command -v "$1" >/dev/null 2>&1; }

# need PACKAGE=THING...: makes sure that each thing (a command or a file) is there, and installs its Debian package otherwise.
# One check at a time, as two may run side by side: what is there may be only half of what another is installing.
need() { find_or_install "$@" 9>"$root/target/apt.lock"; }

find_or_install() {
    local pair missing=()
    flock 9
    for pair in "$@"; do
        there "${pair#*=}" || missing+=("${pair%%=*}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    install_packages "${missing[@]}"
    for pair in "$@"; do
        there "${pair#*=}" || not_run "${pair%%=*} could not be installed"
    done
}

# The newest of each package: the lists that a machine was made with know older ones, which do not go with each other.
install_packages() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        not_run "needs the Debian packages $* (or what they contain)"
    fi
    note "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >"$root/target/apt.log" 2>&1 || true
    apt-get install -qy --no-install-recommends "$@" >>"$root/target/apt.log" 2>&1 || tail -n 5 "$root/target/apt.log"
}

# Debian's compiler brings the source of the standard library, so it can build it for any platform, and instrumented. The
# stable one of rustup can do neither, and a nightly one only with a component that may not be there.
use_debian_rust() {
    need rustc-web=/usr/bin/rustc rust-web-src=/usr/lib/rustlib/src/rust/library/std/src/lib.rs
    replace_old_rust 9>"$root/target/apt.lock"
    command -v cargo >/dev/null || need cargo-web=cargo
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    # panic_unwind: that no panic crosses the ABI rests on catch_unwind.
    build_std=(-Z build-std=std,panic_unwind)
    note "compiler: $(rustc_version "$RUSTC")"
}

# Before 1.96, Windows' programs were linked with objects that only the compiler's own libraries for Windows bring.
replace_old_rust() {
    flock 9
    debian_rust_is_new && return
    install_packages rustc-web rust-web-src
    debian_rust_is_new || not_run "needs rustc-web 1.96, and there is only $(rustc_version /usr/bin/rustc)"
}

debian_rust_is_new() { printf '%s\n' 1.96 "$(/usr/bin/rustc --version | cut -d ' ' -f 2)" | sort --version-sort --check=quiet; }

# A Python 3 of this minor version that can make environments, from the PATH or of pyenv; 1 where there is none.
find_python() {
    local python
    for python in "python3.$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.$1".*/bin/python3; do
        if "$python" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $1))" >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    return 1
}

rustc_version() { "$1" --version; }

# A target directory of the check's own: other flags, other compilers, nothing built twice.
use_target_dir() {
    export CARGO_TARGET_DIR=$root/target/$1
    mkdir -p "$CARGO_TARGET_DIR"
}

mkdir -p "$root/target"
