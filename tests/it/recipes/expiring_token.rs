#[derive(Default)]
struct ExpiringToken(Mutex<Option<(String, Instant)>>);

impl Contract for ExpiringToken {
    fn request(&self, operation: Operation<'_>) -> Request {
        let mut token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token.as_ref().is_none_or(|(_, expires)| *expires <= Instant::now()) {
            *token = match log_in() {
                Ok((new, lifetime)) => Some((new, Instant::now() + lifetime)),
                Err(why) => return Request::failed(format!("no token: {why}")),
            };
        }
        let bearer = token.as_ref().map(|(token, _)| format!("Bearer {token}")).unwrap_or_default();
        Request::assumed(operation).header("Authorization", bearer)
    }

    fn response(&self, _: Operation<'_>, response: &mut Response) {
        if response.status == 401 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Returns a new token, and how long to use it.
fn log_in() -> Result<(String, Duration), String> {
    Err("not connected to the identity provider".to_owned())
}
