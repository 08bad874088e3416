//! What several test programs share: outside programs, brokers, and the daemon itself as a child process.

// Each test program includes these files and uses its own part of them.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod alertmanager;
pub mod broker;
pub mod certificates;
pub mod daemon;
pub mod incidents;
pub mod kube;
pub mod models;
pub mod networks;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod promql;
pub mod python;
pub mod records;
pub mod registry;
pub mod rights;
pub mod secured;
pub mod slow;
pub mod tools;
