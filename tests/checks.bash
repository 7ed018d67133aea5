# Shared by tests/run and tests/dist: counted and timed checks, a temporary directory, and packages.
# shellcheck shell=bash

passed=0
failed=0

# Starts a phase and prints its name; `took` ends it and prints its time.
say() {
    printf '\n== %s\n' "$*"
    phase=$*
    phase_began=$SECONDS
}

took() { printf -- '-- %s: %d:%02d\n' "$phase" $(((SECONDS - phase_began) / 60)) $(((SECONDS - phase_began) % 60)); }

# Runs a command as one check, which passes or fails.
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

# Prints the counts, and fails if a check failed.
summary() {
    printf '\ntotal: %d:%02d\n%d passed, %d failed\n' $((SECONDS / 60)) $((SECONDS % 60)) "$passed" "$failed"
    [ "$failed" -eq 0 ]
}

# Creates the temporary directory of this run, which `remove_scratch` removes. Its path is short, because it holds
# sockets, and other users can enter it, because some tests run programs as another user.
make_scratch() {
    scratch=$(mktemp -d /tmp/ca.XXXXXX) && chmod 755 "$scratch" && export TMPDIR=$scratch
}

remove_scratch() { [ -z "${scratch:-}" ] || rm -rf "$scratch"; }

# Installs the package of each PROGRAM:PACKAGE or FILE:PACKAGE that is missing.
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
            printf 'error: packages are missing; run this command, then try again:\n  sudo apt-get update && sudo apt-get install -y %s\n' \
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

# Updates the package lists. apt-get's lock timeout does not cover their lock, so this retries.
update_packages() {
    local try log
    for try in {0..60}; do
        log=$("$@" apt-get update -q 2>&1) && return 0
        grep -q 'Could not get lock' <<<"$log" || break
        [ "$try" -gt 0 ] || echo 'waiting for another apt-get to finish'
        sleep 5
    done
    printf '%s\n' "$log"
}

# Installs the Rust standard library for these targets.
install_targets() {
    local target
    for target in "$@"; do
        rustup target list --installed | grep -qx "$target" && continue
        printf 'installing with rustup: %s\n' "$target"
        rustup target add "$target" 2>/dev/null || return 1
    done
}
