//! One call: from a request to the response, whatever happens in between.

pub(crate) mod call;
pub(crate) mod clock;
pub(crate) mod message;
pub(crate) mod request;
pub(crate) mod response;
mod retry;
pub(crate) mod stop;
mod transport;
mod worker;
