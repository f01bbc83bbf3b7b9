//! Tests of the public API over real sockets, with the simulator and with servers that send arbitrary bytes.

mod changes;
mod contract;
mod control;
mod deviations;
mod errors;
mod faults;
mod gateways;
mod hooks;
mod identifiers;
mod listing;
mod methods;
mod network;
mod proxy;
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
#[cfg(all(unix, not(target_os = "macos")))]
mod visualize;
mod wait;
mod waiting;
