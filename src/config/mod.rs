//! The settings of a client, and their check.

pub(crate) mod builder;
pub(crate) mod proxy;
pub(crate) mod settings;
pub(crate) mod url;
