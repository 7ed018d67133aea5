//! Who else than this user may own or change a file: private groups, and owners outside of a user namespace.

use std::fs;

/// Where the kernel names the id of owners that a user namespace does not map, and its usual value.
const OVERFLOW_FILE: &str = "/proc/sys/kernel/overflowuid";
const OVERFLOW: u32 = 65_534;

/// Returns whether only this user is in the group, as Debian, Fedora and others set it up for each user. With the umask
/// 002 of such systems, all files of the user are writable by this group.
pub(crate) fn is_private_group(gid: u32) -> bool {
    let [passwd, group] =
        ["/etc/passwd", "/etc/group"].map(|path| fs::read_to_string(path).unwrap_or_default());
    gid == rustix::process::getegid().as_raw()
        && is_private_in(&passwd, &group, rustix::process::geteuid().as_raw(), gid)
}

fn is_private_in(passwd: &str, group: &str, uid: u32, gid: u32) -> bool {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number = |field: Option<&String>| field.and_then(|field| field.parse::<u32>().ok());
    let users: Vec<_> = passwd.lines().map(fields).collect();
    let name = users.iter().find(|user| number(user.get(2)) == Some(uid)).and_then(|user| user.first());
    let shares =
        users.iter().any(|user| number(user.get(3)) == Some(gid) && number(user.get(2)) != Some(uid));
    let groups: Vec<_> = group.lines().map(fields).collect();
    let group = groups.iter().find(|group| number(group.get(2)) == Some(gid));
    let is_named_alike = uid == gid || group.is_some_and(|group| group.first() == name && name.is_some());
    let members = group.and_then(|group| group.get(3)).map_or("", String::as_str);
    let mut others = members.split(',').map(str::trim).filter(|member| !member.is_empty());
    is_named_alike && !shares && others.all(|member| name.is_some_and(|name| name == member))
}

/// Returns whether the owner is a user outside of this process's user namespace, which shows all of them as one.
pub(crate) fn is_unmapped(uid: u32) -> bool {
    let overflow = fs::read_to_string(OVERFLOW_FILE).ok().and_then(|text| text.trim().parse().ok());
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
    uid == overflow.unwrap_or(OVERFLOW) && !maps(&map, uid)
}

/// Whether `map`, of lines `inside outside count`, maps `uid`.
fn maps(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, _, count] = numbers[..] else { return false };
        (inside..inside.saturating_add(count)).contains(&u64::from(uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_if_no_other_user_is_in_it() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbob:x:1001:50::/:/bin/sh\n";
        let private = |group: &str, uid, gid| is_private_in(passwd, group, uid, gid);
        assert!(private("ada:x:1000:\n", 1000, 1000) && private("ada:x:1000:ada\n", 1000, 1000));
        assert!(private("root:x:0:\n", 0, 0), "root has one too");
        assert!(private("", 1000, 1000), "an unlisted group with the user's own number");
        assert!(!private("ada:x:1000:bob\n", 1000, 1000), "bob is in it");
        assert!(!private("staff:x:50:\n", 1000, 50), "it is bob's group");
        assert!(!private("staff:x:20:\n", 501, 20), "a group of many users on macOS");
        assert!(!private("", 1000, 20));
    }

    #[test]
    fn an_owner_is_unmapped_if_the_namespace_does_not_have_it() {
        assert!(maps("         0          0 4294967295\n", OVERFLOW));
        assert!(!maps("0 1000 1\n", OVERFLOW) && !maps("0 1000 1\n1 100000 65533\n", OVERFLOW));
        assert!(maps("0 1000 1\n1 100000 65534\n", OVERFLOW) && !maps("", 0));
    }
}
