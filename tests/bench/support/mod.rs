//! Helpers of the benchmarks: a login of a scripted authority, and reports of times.

mod process;
mod report;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[allow(dead_code, reason = "not every benchmark uses it")]
pub mod system;
mod world;

#[allow(unused_imports, reason = "not every benchmark uses it")]
pub use process::resident;
#[allow(unused_imports, reason = "not every benchmark uses it")]
pub use report::{Limits, Times, header, line};
pub use world::World;
