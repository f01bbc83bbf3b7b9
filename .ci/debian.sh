# Functions for scripts that need Debian's stable release: Rust 1.85 for several targets, with the source of the
# standard library.

# Unpacks packages into the folder $root, unless it is there. Usage: make_root ARCHITECTURES PACKAGES HOOK
# The hook runs in the new folder.
make_root() {
    [ ! -e "$root/crate" ] || return 0
    command -v mmdebstrap > /dev/null ||
        { apt-get update -q && apt-get install -qy --no-install-recommends mmdebstrap; } || return
    rm -rf "$root"
    mkdir -p "$(dirname "$root")"
    # The standard library of another target does not need the compiler that its package depends on, so the hook
    # unpacks it alone. The updates of the release are left out: they change too often to be needed here.
    mmdebstrap --quiet --variant=extract --architectures="$1" --include="$2" \
        --setup-hook='sed -i "/trixie-/d" "$1/etc/apt/sources.list"' \
        --extract-hook='set -eu; cd "$1"; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
            standard_library() {
                (cd tmp && apt-get -qq download "libstd-rust-dev:$1" && dpkg-deb --extract ./*.deb .. && rm ./*.deb)
            }
            ln -s gcc usr/bin/cc
            '"$3"'
            mkdir crate cargo' \
        trixie "$root"
}

# Fetches what Cargo needs: there is no network inside. The source of the standard library counts as unstable.
fetch() {
    cargo fetch --locked --quiet
    RUSTC_BOOTSTRAP=1 cargo fetch --locked --quiet \
        --manifest-path "$root/usr/lib/rustlib/src/rust/library/sysroot/Cargo.toml"
}

# Runs a command in that folder.
inside() {
    root=$root cargo_home=${CARGO_HOME:-$HOME/.cargo} unshare --mount bash -euc '
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --bind . "$root/crate"
        mount --bind "$cargo_home" "$root/cargo"
        exec chroot "$root" env -i --chdir=/crate PATH=/usr/bin LC_ALL=C.UTF-8 HOME=/tmp CARGO_HOME=/cargo \
            CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/crate/target/rust-1.85 CARGO_INCREMENTAL=0 \
            CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=1 RUST_TEST_THREADS=8 "$@"' bash "$@"
}
