//! The form of a JSON document: exactly these keys, each with a value of this form.

use serde_json::Value;

/// What a value must be.
pub(crate) enum Form {
    /// A whole number that is not negative.
    Count,
    /// A number of seconds.
    Seconds,
    /// `true` or `false`.
    Flag,
    /// A text that is not empty.
    Text,
    /// A text that reads as something.
    Reads(fn(&str) -> bool),
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Unknown, or this.
    Nullable(&'static Form),
    /// Any number of these.
    List(&'static Form),
    /// Keys that users choose, with texts.
    Labels,
    /// These keys and no other.
    Object(&'static [(&'static str, Form)]),
}

/// What of a document is not of this form, by path.
pub(crate) fn mismatches(form: &Form, value: &Value, path: &str) -> Vec<String> {
    let fits = match form {
        Form::Count => value.is_u64(),
        Form::Seconds => value.as_f64().is_some_and(|seconds| seconds >= 0.0),
        Form::Flag => value.is_boolean(),
        Form::Text => value.as_str().is_some_and(|text| !text.is_empty()),
        Form::Reads(reads) => value.as_str().is_some_and(reads),
        Form::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Form::Nullable(form) => {
            return if value.is_null() {
                Vec::new()
            } else {
                mismatches(form, value, path)
            };
        }
        Form::List(form) => {
            if let Some(list) = value.as_array() {
                let elements = list.iter().enumerate();
                return elements
                    .flat_map(|(at, value)| mismatches(form, value, &format!("{path}[{at}]")))
                    .collect();
            }
            false
        }
        Form::Labels => value
            .as_object()
            .is_some_and(|labels| labels.values().all(Value::is_string)),
        Form::Object(keys) => {
            if let Some(object) = value.as_object() {
                let absent = keys.iter().filter(|(key, _)| !object.contains_key(*key));
                let foreign = object
                    .keys()
                    .filter(|key| keys.iter().all(|(k, _)| k != key));
                let of_keys = keys.iter().filter_map(|(key, form)| {
                    let value = object.get(*key)?;
                    Some(mismatches(form, value, &format!("{path}.{key}")))
                });
                return absent
                    .map(|(key, _)| format!("{path}.{key}: absent"))
                    .chain(foreign.map(|key| format!("{path}.{key}: not in the interface")))
                    .chain(of_keys.flatten())
                    .collect();
            }
            false
        }
    };
    if fits {
        Vec::new()
    } else {
        vec![format!("{path}: {value}")]
    }
}
