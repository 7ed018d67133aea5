//! The name of this machine.

/// The longest name of a machine on every system.
const MAX_NAME: usize = 256;

/// Returns the name of this machine as its user set it, without the domain; `None` if it is empty or not UTF-8.
#[must_use]
pub fn host_name() -> Option<String> {
    let mut name = [0u8; MAX_NAME];
    // SAFETY: the buffer is as long as it is said to be, and one byte more stays 0.
    let outcome = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let length = name.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&name[..length]).ok().filter(|_| outcome == 0)?;
    let name = name.split('.').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_has_a_name_without_a_domain() {
        assert!(super::host_name().is_none_or(|name| !name.is_empty() && !name.contains('.')));
    }
}
