//! Tells errors from before the connection stood from those after.

/// Marks an error from before the connection stood: nothing was sent.
#[derive(Debug)]
pub(crate) struct NotConnected(pub(crate) ureq::Error);

impl NotConnected {
    pub(crate) fn wrap(error: ureq::Error) -> ureq::Error {
        match error {
            ureq::Error::Other(inner) if inner.is::<NotConnected>() => ureq::Error::Other(inner),
            error => ureq::Error::Other(Box::new(NotConnected(error))),
        }
    }
}

impl std::fmt::Display for NotConnected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotConnected {}
