use std::path::{Path, PathBuf};

/// swtpm's name for what a TPM 2.0 keeps (man page swtpm(8), `--tpmstate dir=`).
const STATE: &str = "tpm2-00.permall";

/// Where libvirt may have the TPM of the machine with this UUID keep its state (`swtpmStorageDir` in qemu_conf.c), the
/// likeliest first. `config`: the user's folder for configuration.
pub fn tpm_states(uri: &str, uuid: &str, config: Option<&Path>) -> Vec<PathBuf> {
    let storage = if let Some((_, root)) = uri.split_once("qemu:///embed?root=") {
        Some(Path::new(root).join("lib/swtpm"))
    } else if uri.starts_with("qemu") && uri.contains("/session") {
        config.map(|config| config.join("libvirt/qemu/swtpm"))
    } else if uri.starts_with("qemu:///system") {
        Some(PathBuf::from("/var/lib/libvirt/swtpm"))
    } else {
        // Of another host.
        None
    };
    // One component: a UUID that leads elsewhere is none.
    let is_uuid = uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    storage.filter(|_| is_uuid).map(|storage| storage.join(uuid).join("tpm2").join(STATE)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tpms_state_is_where_its_driver_keeps_it() {
        let uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
        let at = |uri: &str| {
            tpm_states(uri, uuid, Some(Path::new("/home/a/.config"))).first().map(|path| path.display().to_string())
        };
        let below = |folder: &str| Some(format!("{folder}/{uuid}/tpm2/tpm2-00.permall"));
        assert_eq!(at("qemu:///system"), below("/var/lib/libvirt/swtpm"));
        assert_eq!(at("qemu:///session"), below("/home/a/.config/libvirt/qemu/swtpm"));
        assert_eq!(at("qemu:///embed?root=/r"), below("/r/lib/swtpm"));
        assert_eq!(at("qemu+ssh://host/system"), None);
        assert!(tpm_states("qemu:///system", "../../../../etc/passwd-and-so-on-and-on", None).is_empty());
    }
}
