//! What users do, over real sockets: against the simulator, and against raw sockets where HTTP is broken.

mod changes;
mod contract;
mod control;
mod denials;
mod deviations;
mod errors;
mod faults;
mod gateways;
mod hooks;
mod identifiers;
mod listing;
mod messages;
mod network;
mod proxy;
mod random;
mod recipes;
mod retries;
mod secrets;
mod settings;
mod simulator;
mod submit;
mod summaries;
mod support;
#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod tls;
mod tolerance;
mod verbs;
#[cfg(all(unix, not(target_os = "macos")))]
mod visualize;
mod wait;
mod waiting;
