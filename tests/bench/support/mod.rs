//! What the benchmarks share: a login of a scripted authority, and reports of times.

mod process;
mod report;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[allow(dead_code, reason = "not every benchmark asks the kernel")]
pub mod system;
mod world;

#[allow(unused_imports, reason = "not every benchmark reports by itself")]
pub use process::resident;
#[allow(unused_imports, reason = "not every benchmark reports by itself")]
pub use report::{Promise, Times, header, line};
pub use world::World;
