/// A service or driver as `sc query` or `sc queryex` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its key's name, the same in every language.
    pub name: String,
    /// In the guest's language; `sc query NAME` does not print it.
    pub display_name: Option<String>,
    /// `dwServiceType`.
    pub kind: u32,
    /// `dwCurrentState`: see [`ServiceState`].
    pub state: ServiceState,
    /// `dwWin32ExitCode`: what it ended with, or 1077 if it was not started since the boot.
    pub exit_code: u32,
    /// Only `sc queryex` prints it. None also for one that does not run.
    pub pid: Option<u32>,
}

/// `SERVICE_STATUS`, `dwCurrentState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    Stopped,
    StartPending,
    StopPending,
    Running,
    ContinuePending,
    PausePending,
    Paused,
    Other(u32),
}

impl Service {
    pub fn is_running(&self) -> bool {
        self.state == ServiceState::Running
    }
}

impl From<u32> for ServiceState {
    fn from(state: u32) -> Self {
        match state {
            1 => Self::Stopped,
            2 => Self::StartPending,
            3 => Self::StopPending,
            4 => Self::Running,
            5 => Self::ContinuePending,
            6 => Self::PausePending,
            7 => Self::Paused,
            other => Self::Other(other),
        }
    }
}

/// Most services that are kept; a Windows with all of its features has about a thousand.
const MOST: usize = 20_000;

/// Reads what `sc query type= all state= all`, `sc queryex …` or either of one service printed, on Windows in any language
/// and on Wine (`programs/sc/sc.c`).
///
/// Labels and words may be in the guest's language, so order counts: in each block, after an empty line or not, `LABEL: name`,
/// perhaps `LABEL: display name`, then indented `LABEL : value` in the order type (hexadecimal), state, exit code, service's
/// own exit code, checkpoint, wait hint, and for `queryex` pid and flags. What is no such block (`[SC] … FAILED 1060:`) is
/// passed over.
///
/// A display name may hold line ends, and so make up a service.
pub fn read_sc(output: &str) -> Vec<Service> {
    let mut found = Vec::new();
    let mut block = Block::default();
    for line in output.lines() {
        let is_field = line.starts_with([' ', '\t']);
        // One service's block may follow another's without an empty line.
        if line.trim().is_empty() || (!is_field && !block.fields.is_empty()) {
            found.extend(std::mem::take(&mut block).service());
        }
        if found.len() == MOST {
            return found;
        }
        let Some((_, value)) = line.split_once([':', '\u{ff1a}']) else { continue };
        if is_field { block.fields.push(value.trim()) } else { block.names.push(value.trim()) }
    }
    found.extend(block.service());
    found
}

#[derive(Default)]
struct Block<'a> {
    names: Vec<&'a str>,
    fields: Vec<&'a str>,
}

impl Block<'_> {
    fn service(self) -> Option<Service> {
        let [kind, state, exit_code, _, _, _, rest @ ..] = &self.fields[..] else { return None };
        let name = self.names.first().filter(|name| !name.is_empty())?;
        let pid = rest.first().and_then(|pid| number(pid, 10)).filter(|pid| *pid != 0);
        Some(Service {
            name: (*name).to_owned(),
            display_name: self.names.get(1).map(|name| (*name).to_owned()),
            kind: number(kind, 16)?,
            state: number(state, 16)?.into(),
            exit_code: number(exit_code, 10)?,
            pid,
        })
    }
}

/// The number that a value begins with.
fn number(value: &str, radix: u32) -> Option<u32> {
    u32::from_str_radix(value.split_whitespace().next()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENGLISH: &str = concat!(
        "\r\nSERVICE_NAME: AudioEndpointBuilder\r\nDISPLAY_NAME: Windows Audio: Endpoint Builder\r\n",
        "        TYPE               : 30  WIN32  \r\n",
        "        STATE              : 4  RUNNING \r\n",
        "                                (STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)\r\n",
        "        WIN32_EXIT_CODE    : 0  (0x0)\r\n        SERVICE_EXIT_CODE  : 0  (0x0)\r\n",
        "        CHECKPOINT         : 0x0\r\n        WAIT_HINT          : 0x0\r\n",
        "        PID                : 1372\r\n        FLAGS              : \r\n",
        "\r\nSERVICE_NAME: disk\r\nDISPLAY_NAME: Disk Driver\r\n",
        "        TYPE               : 1  KERNEL_DRIVER  \r\n",
        "        STATE              : 1  STOPPED \r\n",
        "        WIN32_EXIT_CODE    : 1077  (0x435)\r\n        SERVICE_EXIT_CODE  : 0  (0x0)\r\n",
        "        CHECKPOINT         : 0x0\r\n        WAIT_HINT          : 0x0\r\n",
        "        PID                : 0\r\n        FLAGS              : \r\n",
    );

    fn services() -> [Service; 2] {
        let audio = Service {
            name: "AudioEndpointBuilder".into(),
            display_name: Some("Windows Audio: Endpoint Builder".into()),
            kind: 0x30,
            state: ServiceState::Running,
            exit_code: 0,
            pid: Some(1372),
        };
        let disk = Service {
            name: "disk".into(),
            display_name: Some("Disk Driver".into()),
            kind: 1,
            state: ServiceState::Stopped,
            exit_code: 1077,
            pid: None,
        };
        [audio, disk]
    }

    #[test]
    fn services_and_drivers_are_read() {
        let [audio, disk] = services();
        assert!(audio.is_running());
        assert!(!disk.is_running());
        assert_eq!(read_sc(ENGLISH), [audio, disk]);
    }

    #[test]
    fn labels_and_words_may_be_in_any_language() {
        let french = ENGLISH
            .replace("SERVICE_NAME: ", "NOM_SERVICE : ")
            .replace("DISPLAY_NAME: ", "NOM_AFFICHÉ : ")
            .replace("STATE ", "ÉTAT ")
            .replace("RUNNING", "EN COURS")
            .replace("WIN32_EXIT_CODE", "CODE_SORTIE");
        assert_eq!(read_sc(&french), services());
        let wide = ENGLISH.replace("_NAME: ", "_NAME\u{ff1a}").replace(" : ", "\u{ff1a}");
        assert_eq!(read_sc(&wide), services());
    }

    /// Wine's `sc query` prints one service, without its other name and without an empty line.
    #[test]
    fn one_service_alone_is_read_as_windows_and_wine_print_it() {
        let one = concat!(
            "SERVICE_NAME: svc\n        TYPE               : 10  WIN32_OWN_PROCESS\n",
            "        STATE              : 2  START_PENDING\n        WIN32_EXIT_CODE    : 0  (0x0)\n",
            "        SERVICE_EXIT_CODE  : 0  (0x0)\n        CHECKPOINT         : 0x1\n        WAIT_HINT          : 0x7d0\n",
        );
        let wanted = Service {
            name: "svc".into(),
            display_name: None,
            kind: 0x10,
            state: ServiceState::StartPending,
            exit_code: 0,
            pid: None,
        };
        assert_eq!(read_sc(one), std::slice::from_ref(&wanted));
        assert_eq!(read_sc(&format!("{one}{one}")), [wanted.clone(), wanted]);
    }

    #[test]
    fn what_is_no_service_is_passed_over() {
        let failed = "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\r\n\r\nThere is no such service.\r\n";
        assert_eq!(read_sc(failed), []);
        assert_eq!(read_sc(&format!("{failed}{ENGLISH}")), services());
        // Cut after the state.
        let at = ENGLISH.find("WIN32_EXIT_CODE").unwrap();
        assert_eq!(read_sc(&ENGLISH[..at]), []);
        assert_eq!(read_sc(&ENGLISH.replace(": 30 ", ": WIN32 ")), services()[1..]);
    }

    #[test]
    fn states_have_their_numbers() {
        use ServiceState::*;
        let states: Vec<ServiceState> = (0..9).map(ServiceState::from).collect();
        let wanted =
            [Other(0), Stopped, StartPending, StopPending, Running, ContinuePending, PausePending, Paused, Other(8)];
        assert_eq!(states, wanted);
    }

    proptest! {
        #[test]
        fn any_output_is_read(output in r"(SERVICE_NAME: |        TYPE : |\r?\n|[0-9a-fx() :]|\PC)*") {
            read_sc(&output);
        }

        #[test]
        fn no_cut_makes_up_a_service(at in 0..ENGLISH.len()) {
            let names: Vec<String> = services().map(|service| service.name).into();
            for service in read_sc(&ENGLISH[..at]) {
                prop_assert!(names.contains(&service.name));
            }
        }
    }
}
