//! What tests of this family need: to know whether the machine has the program, and results
//! without what is different each time.

/// Tells whether there is an `openssl` to test with.
pub(super) fn has_openssl() -> bool {
    std::path::Path::new("/usr/bin/openssl").exists()
}

/// Takes the fingerprints and the diff out of a result.
pub(super) fn short(result: &str) -> String {
    let mut value: crate::value::Value = serde_json::from_str(result).unwrap();
    if let Some(map) = value.as_map() {
        let mut map = map.clone();
        for name in [
            "fingerprint",
            "diff",
            "serial_number",
            "notBefore",
            "notAfter",
        ] {
            map.shift_remove(name);
        }
        value = map.into();
    }
    serde_json::to_string(&value).unwrap()
}
