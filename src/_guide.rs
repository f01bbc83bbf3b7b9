//! Guides, recipes and the HTTP API. This module exists in the documentation only.
//!
//! | page | for |
//! |---|---|
//! | [`script`] | a person with a folder of molecules, who runs a script from time to time |
//! | [`build_tool`] | a tool that others run, by hand or in CI, and that may be interrupted |
//! | [`service`] | a process that runs for months and calls Atomiverse for its own clients |
//! | [`embedded`] | a device with little memory |
//! | [`cookbook`] | short recipes |
//! | [`http`] | a person whose service differs from what this crate assumes |
//!
//! The tests of this crate run the programs against its [simulator](cookbook#test-your-own-tool-offline).

/// A script: submit a folder of payloads, and wait for the jobs.
///
#[doc = include_str!("_guide/script.md")]
#[doc = "```no_run"]
#[doc = include_str!("../examples/script.rs")]
#[doc = "```"]
pub mod script {}

/// A build tool: interrupted runs, deadlines, exit codes and tests.
///
#[doc = include_str!("_guide/build_tool.md")]
#[doc = "```no_run"]
#[doc = include_str!("../examples/build_tool.rs")]
#[doc = "```"]
pub mod build_tool {}

/// A service: one client for all threads, shutdown, key rotation and metrics.
///
#[doc = include_str!("_guide/service.md")]
pub mod service {}

/// A small device: a static program of less than 1 MB, without TLS.
///
#[doc = include_str!("_guide/embedded.md")]
pub mod embedded {}

/// Recipes.
///
#[doc = include_str!("_guide/cookbook.md")]
#[cfg_attr(feature = "simulator", doc = "[`simulator`]: mod@crate::simulator")]
#[cfg_attr(not(feature = "simulator"), doc = "[`simulator`]: crate#features")]
pub mod cookbook {}

#[doc = include_str!("../HTTP.md")]
pub mod http {}
