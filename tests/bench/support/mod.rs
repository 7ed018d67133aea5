//! What the benchmarks share: a login of a scripted authority, and reports of times.

mod report;
mod world;

#[allow(unused_imports, reason = "not every benchmark reports by itself")]
pub use report::{Promise, Times, header, line};
pub use world::World;
