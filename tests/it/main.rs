//! Tests of the public API over real sockets, with the simulator and with servers that send arbitrary bytes.

mod changes;
mod contract;
mod deviations;
mod errors;
mod faults;
mod gateways;
mod identifiers;
mod iterating;
mod many;
mod messages;
mod methods;
mod proxy;
mod recipes;
mod retries;
mod secrets;
mod settings;
mod simulator;
mod submitting;
mod support;
#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod tls;
mod truth;
mod types;
mod views;
#[cfg(all(unix, not(target_os = "macos")))]
mod visualize;
mod waiting;
mod wire;
