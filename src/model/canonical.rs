use serde_json::Value;

/// JSON in one form, for digests: without spaces, every object's keys sorted.
///
/// serde_json sorts keys by itself only as long as no crate in the build asks for its feature `preserve_order`; the crate
/// evtx does.
pub fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Approvals, seals and known controls are found by digests of this text.
    #[test]
    fn keys_are_sorted_at_every_depth_however_they_were_written() {
        let value = json!({"version": 1, "updates": [{"timeout": 5, "kind": {"run": ["b", "a"]}}], "candidate": null});
        let wanted = r#"{"candidate":null,"updates":[{"kind":{"run":["b","a"]},"timeout":5}],"version":1}"#;
        assert_eq!(canonical(value), wanted);
    }
}
