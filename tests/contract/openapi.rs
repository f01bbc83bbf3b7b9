//! Compares requests and responses with `openapi.yaml`.

use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// A request or a response. The `line` of a request is such as `GET /api/v1/jobs?limit=50`.
#[derive(Debug, Clone)]
pub struct Message {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// Returns the value of a header, or an empty string if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn status(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

pub struct OpenApi(pub Value);

type Check<T = ()> = Result<T, String>;

impl OpenApi {
    pub fn read() -> Self {
        OpenApi(serde_saphyr::from_str(include_str!("openapi.yaml")).expect("openapi.yaml is YAML"))
    }

    /// Returns the `operationId` of an exchange, or how it differs from the contract.
    pub fn check(&self, request: &Message, response: &Message) -> Check<String> {
        let (method, target) = request.line.split_once(' ').ok_or("no method")?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let at = self.operation(&method.to_lowercase(), path).ok_or("unknown operation")?;
        let status = response.status();
        // If the server refuses the key, the request may have carried none.
        if status != "401" && !request.header("authorization").starts_with("Bearer ") {
            return Err("no key".to_owned());
        }
        self.check_query(&at, query)?;
        // A request that the server rejects as invalid need not follow the contract.
        if status != "422" {
            self.check_body(&format!("{at}/requestBody"), request)?;
        }
        let response_at = format!("{at}/responses/{status}");
        self.at(&response_at).ok_or("unknown status")?;
        self.check_body(&self.followed(response_at), response)?;
        Ok(self.at(&format!("{at}/operationId")).and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Returns the pointer to the operation. `/jobs/batch` is preferred to `/jobs/{job_id}`, as the more exact match.
    fn operation(&self, method: &str, path: &str) -> Option<String> {
        let path: Vec<&str> = path.split('/').collect();
        let paths = self.0["paths"].as_object()?.iter().filter(|(_, item)| item.get(method).is_some());
        let matching = paths.filter_map(|(template, _)| {
            let parts: Vec<&str> = template.split('/').collect();
            let fits =
                |(part, given): (&&str, &&str)| part == given || part.starts_with('{') && !given.is_empty();
            let literal = parts.iter().filter(|part| !part.starts_with('{')).count();
            (parts.len() == path.len() && parts.iter().zip(&path).all(fits)).then_some((literal, template))
        });
        let (_, template) = matching.max()?;
        Some(format!("/paths/{}/{method}", template.replace('~', "~0").replace('/', "~1")))
    }

    fn check_query(&self, operation: &str, query: &str) -> Check {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a parameter without a value")?;
            let known = self.at(&format!("{operation}/parameters")).and_then(Value::as_array);
            let is_known = |known: &Value| known["name"] == name && known["in"] == "query";
            let index = known.and_then(|known| known.iter().position(is_known));
            let index = index.ok_or_else(|| format!("unknown parameter: {name}"))?;
            let value = percent_decode_str(value).decode_utf8().map_err(|error| error.to_string())?;
            let at = format!("{operation}/parameters/{index}/schema");
            let value = match (self.at(&at).map(|schema| &schema["type"]), value.parse::<u64>()) {
                (Some(kind), Ok(number)) if kind == "integer" => json!(number),
                _ => json!(value),
            };
            self.check_value(&at, &value)?;
        }
        Ok(())
    }

    fn check_body(&self, at: &str, message: &Message) -> Check {
        let Some(content) = self.at(&format!("{at}/content")).and_then(Value::as_object) else {
            return if message.body.is_empty() { Ok(()) } else { Err("unexpected body".to_owned()) };
        };
        let kind = message.header("content-type").split(';').next().unwrap_or_default();
        if !content.contains_key(kind) {
            return Err(format!("unknown content type: {kind:?}"));
        }
        let value = serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
        self.check_value(&format!("{at}/content/{}/schema", kind.replace('/', "~1")), &value)
    }

    fn check_value(&self, at: &str, value: &Value) -> Check {
        // The schema is the whole file with a `$ref`, so that its references still resolve.
        let mut schema = self.0.clone();
        schema["$ref"] = json!(format!("#{}", at.replace('{', "%7B").replace('}', "%7D")));
        let validator: Validator =
            jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())?;
        validator
            .validate(value)
            .map_err(|error| format!("{error} at {:?}", error.instance_path().to_string()))
    }

    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// Follows the reference at this place, if there is one.
    pub fn followed(&self, at: String) -> String {
        let reference = self.at(&at).and_then(|value| value["$ref"].as_str());
        reference.map_or(at.clone(), |reference| reference.trim_start_matches('#').to_owned())
    }
}
