# What tests/run and tests/dist share: checks that are counted and timed, and the packages they need.
# shellcheck shell=bash

passed=0
failed=0

# Opens a phase; `took` closes it and prints its time.
say() {
    printf '\n== %s\n' "$*"
    phase=$*
    phase_began=$SECONDS
}

took() { printf -- '-- %s: %d:%02d\n' "$phase" $(((SECONDS - phase_began) / 60)) $(((SECONDS - phase_began) % 60)); }

# A check that either passes or fails as a whole.
check() {
    local name=$1
    shift
    say "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$name"
    fi
    took
}

# Prints the closing line, and returns the exit code that goes with it.
summary() {
    printf '\nall of it: %d:%02d\n%d passed, %d failed\n' $((SECONDS / 60)) $((SECONDS % 60)) "$passed" "$failed"
    [ "$failed" -eq 0 ]
}

# Gives this run a temporary directory of its own, which `remove_scratch` removes. Its path is short, for the sockets in
# it, and other users can go there, since some tests run programs as another user.
make_scratch() {
    scratch=$(mktemp -d /tmp/ca.XXXXXX) && chmod 755 "$scratch" && export TMPDIR=$scratch
}

remove_scratch() { [ -z "${scratch:-}" ] || rm -rf "$scratch"; }

# Installs the missing ones of PROGRAM:PACKAGE or FILE:PACKAGE.
install_packages() {
    local missing=() pair wanted
    for pair in "$@"; do
        wanted=${pair%%:*}
        [ -e "$wanted" ] || command -v "$wanted" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            printf 'these packages are missing; run this and start again:\n  sudo apt-get update && sudo apt-get install -y %s\n' \
                "${missing[*]}"
            return 1
        fi
        as_root=(sudo)
    fi
    printf 'installing packages: %s\n' "${missing[*]}"
    update_packages "${as_root[@]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Updates the lists of packages. The timeout of apt-get does not hold for the lock of those, so this tries again.
update_packages() {
    local try log
    for try in {0..60}; do
        log=$("$@" apt-get update -q 2>&1) && return 0
        grep -q 'Could not get lock' <<<"$log" || break
        [ "$try" -gt 0 ] || echo 'waiting for another apt-get'
        sleep 5
    done
    printf '%s\n' "$log"
}

# Installs what Rust needs to build for these targets.
install_targets() {
    local target
    for target in "$@"; do
        rustup target list --installed | grep -qx "$target" && continue
        printf 'installing with rustup: %s\n' "$target"
        rustup target add "$target" 2>/dev/null || return 1
    done
}
