struct Envelope;

#[derive(serde::Deserialize)]
struct Received {
    data: Box<RawValue>,
    error: Option<Value>,
}

impl Contract for Envelope {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let Operation::Custom { .. } = operation {
            return;
        }
        match response.json() {
            Ok(Received { error: Some(_), .. }) if response.status < 300 => response.status = 400,
            Ok(Received { error: None, data }) => response.set_json(&data),
            _ => {}
        }
    }
}
