//! The calls: what is sent, and what the outcome is.

pub(crate) mod list;
pub(crate) mod pages;
