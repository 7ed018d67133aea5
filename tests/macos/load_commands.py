#!/usr/bin/env python3
"""Checks what a program for macOS loads: load_commands.py PROGRAM SYMBOLS

It must load the libraries that SYMBOLS lists and the system library, and nothing from a path of its own; and it must be
position-independent and made for the oldest macOS that is supported.
"""

import struct
import sys

OLDEST = (11, 0)
SYSTEM = "/usr/lib/libSystem.B.dylib"
DYLIB, RPATH, DYLD_ENVIRONMENT, BUILD_VERSION, MAIN = 0xC, 0x8000001C, 0x27, 0x32, 0x80000028
OTHER_DYLIBS = {0x80000018: "weak", 0x8000001F: "re-exported", 0x20: "lazy", 0x80000023: "upward"}
EXECUTABLE, PIE = 2, 0x200000


def commands(program):
    """Yields the number and the bytes of each load command."""
    magic, _, _, kind, count, _, flags, _ = struct.unpack_from("<8I", program)
    assert magic == 0xFEEDFACF, "it is no 64-bit Mach-O file"
    assert kind == EXECUTABLE and flags & PIE, "it is no position-independent program"
    at = 32
    for _ in range(count):
        number, size = struct.unpack_from("<2I", program, at)
        yield number, program[at : at + size]
        at += size


def text(command, at=8):
    """Returns the text whose offset is at this place of the command."""
    return command[struct.unpack_from("<I", command, at)[0] :].split(b"\0", 1)[0].decode()


def main(path, symbols):
    """Prints what the program loads."""
    with open(symbols, encoding="utf-8") as lines:
        expected = {line.split(":")[0] for line in lines if not line.startswith("#")} | {SYSTEM}
    with open(path, "rb") as file:
        program = file.read()
    loaded, oldest, starts = set(), None, False
    for number, command in commands(program):
        assert number not in OTHER_DYLIBS, f"a {OTHER_DYLIBS[number]} library: {text(command)}"
        assert number not in (RPATH, DYLD_ENVIRONMENT), f"a search path: {text(command)}"
        if number == DYLIB:
            loaded.add(text(command))
        elif number == BUILD_VERSION:
            version = struct.unpack_from("<I", command, 12)[0]
            oldest = (version >> 16, version >> 8 & 0xFF)
        elif number == MAIN:
            starts = True
    assert loaded == expected, f"loaded {sorted(loaded)}, expected {sorted(expected)}"
    assert oldest == OLDEST, f"made for macOS {oldest}, expected {OLDEST}"
    assert starts, "it has no entry point"
    print(f"{path}: {len(program)} bytes, macOS {oldest[0]}.{oldest[1]}, {len(loaded)} libraries")


main(*sys.argv[1:])
