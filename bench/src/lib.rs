#![doc = include_str!("../README.md")]

pub mod bare;
pub mod benches;
pub mod chart;
pub mod constant;
pub mod gate;
pub mod ground;
pub mod load;
pub mod machine;
pub mod measure;
pub mod native;
pub mod process;
pub mod report;
pub mod say;
pub mod scale;
pub mod topic;
pub mod ways;
