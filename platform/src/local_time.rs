//! The offset of the user's time zone.

/// Returns the offset from UTC, in seconds, of the user's time zone at `seconds` after 1970; `None` if the system does not
/// know it.
#[must_use]
pub fn utc_offset(seconds: i64) -> Option<i32> {
    // The type has 32 bits on some systems.
    #[allow(clippy::useless_conversion, reason = "64 bits on most systems")]
    #[allow(deprecated, reason = "with musl, where its size will change")]
    let seconds = libc::time_t::try_from(seconds).ok()?;
    let mut local = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, which keeps neither; this program never changes its environment.
    let local = unsafe {
        if libc::localtime_r(&raw const seconds, local.as_mut_ptr()).is_null() {
            return None;
        }
        local.assume_init()
    };
    i32::try_from(local.tm_gmtoff).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_less_than_a_day_and_of_whole_minutes_today() {
        let offset = utc_offset(1_800_000_000).unwrap();
        assert!(offset.abs() < 86_400 && offset % 60 == 0, "{offset}");
    }
}
