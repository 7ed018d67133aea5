# What tests/run and tests/dist share: checks that are counted, and the packages they need.
# shellcheck shell=bash

passed=0
failed=0

say() { printf '\n== %s\n' "$*"; }

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
}

# The closing line, and the exit code that goes with it.
summary() {
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
}

# Installs what is missing of programs and the packages they come in, PROGRAM:PACKAGE or FILE:PACKAGE each.
install_packages() {
    local missing=() pair wanted
    for pair in "$@"; do
        wanted=${pair%%:*}
        [ -e "$wanted" ] || command -v "$wanted" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            printf 'these packages are missing; run this and start again:\n  sudo apt-get update && sudo %s\n' "${install[*]}"
            return 1
        fi
        install=(sudo "${install[@]}")
        sudo apt-get update -q >/dev/null
    else
        apt-get update -q >/dev/null
    fi
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null
}
