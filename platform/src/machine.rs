//! The name of this machine.

/// Returns the name of this machine as its user set it, without the domain; `None` if it is empty or not UTF-8.
#[must_use]
pub fn host_name() -> Option<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().ok()?.split('.').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_has_a_name_without_a_domain() {
        assert!(super::host_name().is_none_or(|name| !name.is_empty() && !name.contains('.')));
    }
}
