//! One login, kept alive and in one place for everything on a machine that uses it.
