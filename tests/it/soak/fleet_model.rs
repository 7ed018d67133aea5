//! The model of a fleet within bounds that take minutes.

use super::Soak;
use crate::model::fleet::{LARGE_BOUNDS, search};

#[test]
fn keeps_its_promises() {
    let mut soak = Soak::begin(&[]);
    for (name, bounds) in LARGE_BOUNDS {
        if soak.has_time() {
            let states = search(name, bounds, soak.time_left());
            soak.count(name, states);
        }
    }
    soak.finish();
}
