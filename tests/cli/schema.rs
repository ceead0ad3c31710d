use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::Bench;

fn schema(of: &str) -> Value {
    serde_json::from_str(&Bench::new().run(&format!("schema {of}")).expect(0).out).unwrap()
}

/// The names of all properties of a schema, its definitions included; each must say what it is.
fn properties(schema: &Value) -> BTreeSet<String> {
    let definitions = schema["$defs"].as_object().into_iter().flat_map(|defs| defs.values());
    let mut names = BTreeSet::new();
    for object in definitions.chain([schema]) {
        for (name, property) in object["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name} has no description");
            assert_eq!(object["additionalProperties"], false, "{name} stands among unknown keys");
            names.insert(name.clone());
        }
    }
    names
}

#[test]
fn the_schemas_have_every_key_and_say_what_it_is() {
    let matrix = "version name catalog axes exclude include coverage network control start cold setup update candidate vars health \
        policy collect soak watch boot_timeout restart_timeout checks id retry_inconclusive retries rules rings soak_time required coverage slow_down flaky quarantine cells reason until max_age image_age restarts evidence compare boot memory disk_free clock ignore timeout success when copy \
        files run sh cmd ps1 msi msp exe msu cab inf reg args beside from to mode file";
    let policy = "version name rules rings soak_time required coverage slow_down flaky quarantine cells reason until max_age soak image_age";
    assert_eq!(properties(&schema("policy")), policy.split_whitespace().map(str::to_owned).collect());
    // Those of a layer's steps, too.
    let steps = "apply from restarts timeout success when copy files run sh cmd ps1 msi msp exe msu cab inf reg args beside to mode \
        file";
    assert_eq!(properties(&schema("matrix")), matrix.split_whitespace().map(str::to_owned).collect());
    let catalog = "version images name labels disk sha256 backing firmware nvram nvram_sha256 tpm tpm_state \
        tpm_state_sha256 disk_bus network_model clock memory vcpus family agent boot settled \
        quirks made kernel initrd cmdline extra_restarts";
    let catalog = catalog.split_whitespace().chain(steps.split_whitespace());
    assert_eq!(properties(&schema("catalog")), catalog.map(str::to_owned).collect());
}

#[test]
fn axis_values_may_be_numbers() {
    let schema = schema("matrix").to_string();
    assert!(schema.contains(r#"["string","number","boolean"]"#), "{schema}");
}
