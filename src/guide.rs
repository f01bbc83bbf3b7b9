//! Guides for the three kinds of program that use this crate. Each ends with a program.
//!
//! | guide | for |
//! |---|---|
//! | [`script`] | a person with a folder of molecules, who runs a script from time to time |
//! | [`build_tool`] | a tool that others run, by hand or in CI, and that may be interrupted |
//! | [`service`] | a process that runs for months and calls Atomiverse for its own clients |
//!
//! The tests of this crate run the programs against the [simulator](crate#test-your-own-tool-offline). The [page of the
//! crate](crate#cookbook) has short recipes.
//!
//! This module exists in the documentation only. It adds nothing to your build.

/// A script: submit a folder of payloads, and wait for the jobs.
///
#[doc = include_str!("guide/script.md")]
#[doc = "```no_run"]
#[doc = include_str!("../examples/script.rs")]
#[doc = "```"]
pub mod script {}

/// A build tool: interrupted runs, deadlines and exit codes.
///
#[doc = include_str!("guide/build_tool.md")]
#[doc = "```no_run"]
#[doc = include_str!("../examples/build_tool.rs")]
#[doc = "```"]
pub mod build_tool {}

/// A service: one client for all threads, shutdown, key rotation and metrics.
///
#[doc = include_str!("guide/service.md")]
pub mod service {}
