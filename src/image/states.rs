use std::path::{Path, PathBuf};

use super::domain::Nvram;
use crate::model::is_guid;

/// swtpm's name for what a TPM 2.0 keeps (man page swtpm(8), `--tpmstate dir=`).
const STATE: &str = "tpm2-00.permall";

/// Where libvirt keeps what a machine's firmware and TPM remember. Nothing says that the files are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// For a definition that leaves it to libvirt, and so names none. The likeliest first.
    pub nvram: Vec<Nvram>,
    /// None: not known.
    pub tpm: Option<PathBuf>,
}

impl States {
    /// By libvirt's own rules (qemu_conf.c, `nvramDir` and `swtpmStorageDir`; qemu_firmware.c, `NAME_VARS.fd`). `config`:
    /// the user's folder for configuration.
    pub fn of(uri: &str, name: &str, uuid: &str, config: Option<&Path>) -> Self {
        let (nvram, tpm) = if let Some((_, root)) = uri.split_once("qemu:///embed?root=") {
            let lib = Path::new(root).join("lib");
            (lib.join("qemu/nvram"), lib.join("swtpm"))
        } else if let ("qemu:///session", Some(config)) = (uri, config) {
            let qemu = config.join("libvirt/qemu");
            (qemu.join("nvram"), qemu.join("swtpm"))
        } else if uri == "qemu:///system" {
            ("/var/lib/libvirt/qemu/nvram".into(), "/var/lib/libvirt/swtpm".into())
        } else {
            // Of another host, perhaps.
            return Self::default();
        };
        // Components of a path: what leads elsewhere is none.
        let file = |ending: &str, format: &str| Nvram {
            path: nvram.join(format!("{name}_VARS.{ending}")),
            format: format.to_owned(),
        };
        let nvram = if name.contains('/') { vec![] } else { vec![file("fd", "raw"), file("qcow2", "qcow2")] };
        Self { nvram, tpm: is_guid(uuid).then(|| tpm.join(uuid).join("tpm2").join(STATE)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_where_their_driver_keeps_them() {
        let uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
        let of = |uri: &str| {
            let states = States::of(uri, "win11", uuid, Some(Path::new("/home/a/.config")));
            let nvram = states.nvram.first().map(|nvram| nvram.path.display().to_string());
            (nvram.unwrap_or_default(), states.tpm.map(|path| path.display().to_string()).unwrap_or_default())
        };
        let at =
            |nvram: &str, tpm: &str| (format!("{nvram}/win11_VARS.fd"), format!("{tpm}/{uuid}/tpm2/tpm2-00.permall"));
        assert_eq!(of("qemu:///system"), at("/var/lib/libvirt/qemu/nvram", "/var/lib/libvirt/swtpm"));
        let session = "/home/a/.config/libvirt/qemu";
        assert_eq!(of("qemu:///session"), at(&format!("{session}/nvram"), &format!("{session}/swtpm")));
        assert_eq!(of("qemu:///embed?root=/r"), at("/r/lib/qemu/nvram", "/r/lib/swtpm"));
        assert_eq!(of("qemu+ssh://host/system"), (String::new(), String::new()));
        let hostile = States::of("qemu:///system", "../x", "../../../../etc/passwd-and-so-on-and-on", None);
        assert_eq!(hostile, States::default());
    }
}
