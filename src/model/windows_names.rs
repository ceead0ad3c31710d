use std::sync::LazyLock;

/// The name of a Windows bug check (Microsoft's "Bug Check Code Reference"), as on a stop screen.
///
/// Small dumps carry some codes with `0x10000000` added, which have names of their own (`…_M`).
pub fn bugcheck_name(code: u64) -> Option<&'static str> {
    static NAMES: LazyLock<Names> = LazyLock::new(|| Names::of(include_str!("bugchecks.txt")));
    NAMES.get(code.try_into().ok()?)
}

/// The name of what a Windows program, installer or service ended with: a system error, a HRESULT or an NTSTATUS.
///
/// What a program means by a small number is its own business: a name is a hint for people and decides nothing.
pub fn windows_code_name(code: u32) -> Option<&'static str> {
    static NAMES: LazyLock<Names> = LazyLock::new(|| Names::of(include_str!("windows_codes.txt")));
    // HRESULT_FROM_WIN32 ([MS-ERREF] 2.1.2): a failure of facility 7 is a system error.
    let is_system_error = code & 0xffff_0000 == 0x8007_0000;
    NAMES.get(code).or_else(|| NAMES.get(code & 0xffff).filter(|_| is_system_error))
}

/// An exit code for people. Up to 255, which is all that other systems have, what it means is the program's own business;
/// beyond, a code that Windows has a name for is told with it, and one of 32 bits in hexadecimal.
pub fn told_exit_code(code: i32) -> String {
    let bits = code.cast_unsigned();
    let number = if code < 0 { format!("0x{bits:08x}") } else { code.to_string() };
    match windows_code_name(bits).filter(|_| bits > 255) {
        Some(name) => format!("{number} ({name})"),
        None => number,
    }
}

/// Codes and their names, sorted.
struct Names(Vec<(u32, &'static str)>);

impl Names {
    /// `text`: a code in hexadecimal and its name a line; `#` begins a comment.
    fn of(text: &'static str) -> Self {
        let line = |line: &'static str| {
            let (code, name) = line.strip_prefix("0x")?.split_once(' ')?;
            Some((u32::from_str_radix(code, 16).ok()?, name))
        };
        let mut names: Vec<_> = text.lines().filter_map(line).collect();
        names.sort_by_key(|(code, _)| *code);
        Self(names)
    }

    fn get(&self, code: u32) -> Option<&'static str> {
        let at = self.0.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        Some(self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugchecks_have_the_names_of_microsofts_reference() {
        for (code, name) in [
            (0x0a, "IRQL_NOT_LESS_OR_EQUAL"),
            (0x50, "PAGE_FAULT_IN_NONPAGED_AREA"),
            (0x7b, "INACCESSIBLE_BOOT_DEVICE"),
            (0x7e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
            (0xd1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"),
            (0xdf, "IMPERSONATING_WORKER_THREAD"),
            (0xef, "CRITICAL_PROCESS_DIED"),
            (0x139, "KERNEL_SECURITY_CHECK_FAILURE"),
            (0x1d0, "ACPI_FIRMWARE_WATCHDOG_TIMEOUT"),
            (0x1000_007e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"),
            (0xc000_021a, "WINLOGON_FATAL_ERROR"),
            (0xdead_dead, "MANUALLY_INITIATED_CRASH1"),
        ] {
            assert_eq!(bugcheck_name(code), Some(name), "{code:#x}");
        }
        for code in [0, 0x1_0000_007e, 0xffff_fff0, u64::MAX] {
            assert_eq!(bugcheck_name(code), None, "{code:#x}");
        }
    }

    #[test]
    fn an_exit_code_of_windows_is_told_with_its_name() {
        for (code, told) in [
            (0, "0"),
            (5, "5"),
            (1603, "1603 (ERROR_INSTALL_FAILURE)"),
            (-1_073_741_819, "0xc0000005 (STATUS_ACCESS_VIOLATION)"),
            (-1, "0xffffffff"),
        ] {
            assert_eq!(told_exit_code(code), told);
        }
    }

    #[test]
    fn codes_have_the_names_of_microsofts_documents() {
        for (code, name) in [
            (2, "ERROR_FILE_NOT_FOUND"),
            (5, "ERROR_ACCESS_DENIED"),
            (259, "ERROR_NO_MORE_ITEMS"),
            (1056, "ERROR_SERVICE_ALREADY_RUNNING"),
            (1060, "ERROR_SERVICE_DOES_NOT_EXIST"),
            (1077, "ERROR_SERVICE_NEVER_STARTED"),
            (1601, "ERROR_INSTALL_SERVICE_FAILURE"),
            (1602, "ERROR_INSTALL_USEREXIT"),
            (1603, "ERROR_INSTALL_FAILURE"),
            (1618, "ERROR_INSTALL_ALREADY_RUNNING"),
            (1619, "ERROR_INSTALL_PACKAGE_OPEN_FAILED"),
            (1620, "ERROR_INSTALL_PACKAGE_INVALID"),
            (1627, "ERROR_FUNCTION_FAILED"),
            (1638, "ERROR_PRODUCT_VERSION"),
            (1641, "ERROR_SUCCESS_REBOOT_INITIATED"),
            (1654, "ERROR_INSTALL_REJECTED"),
            (3010, "ERROR_SUCCESS_REBOOT_REQUIRED"),
            (0x0024_0005, "WU_S_REBOOT_REQUIRED"),
            (0x0024_0006, "WU_S_ALREADY_INSTALLED"),
            (0x8024_0017, "WU_E_NOT_APPLICABLE"),
            (0x800f_081e, "CBS_E_NOT_APPLICABLE"),
            (0x800f_0922, "CBS_E_INSTALLERS_FAILED"),
            (0x800f_0988, "PSFX_E_INVALID_DELTA_COMBINATION"),
            (0x800b_0100, "TRUST_E_NOSIGNATURE"),
            (0x8000_4005, "E_FAIL"),
            (0x8007_0005, "E_ACCESSDENIED"),
            (0xc000_0005, "STATUS_ACCESS_VIOLATION"),
            (0xc000_0135, "STATUS_DLL_NOT_FOUND"),
            (0xc000_0142, "STATUS_DLL_INIT_FAILED"),
            (0xc000_0409, "STATUS_STACK_BUFFER_OVERRUN"),
        ] {
            assert_eq!(windows_code_name(code), Some(name), "{code:#x}");
        }
        for code in [0, 1, 9999, 0x8009_0001, u32::MAX] {
            assert_eq!(windows_code_name(code), None, "{code:#x}");
        }
    }

    #[test]
    fn a_hresult_of_a_system_error_has_that_errors_name() {
        assert_eq!(windows_code_name(0x8007_0643), Some("ERROR_INSTALL_FAILURE"));
        assert_eq!(windows_code_name(0x8007_3712), Some("ERROR_SXS_COMPONENT_STORE_CORRUPT"));
        assert_eq!(windows_code_name(0x8007_0001), None);
    }

    /// A line that is not understood would be left out silently, and one of two of the same code be told by chance.
    #[test]
    fn every_line_of_the_lists_is_read_and_no_code_comes_twice() {
        for text in [include_str!("bugchecks.txt"), include_str!("windows_codes.txt")] {
            let lines = text.lines().filter(|line| !line.starts_with('#')).count();
            let names = Names::of(text).0;
            assert_eq!(names.len(), lines);
            assert!(names.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(names.iter().all(|(_, name)| !name.is_empty() && name.chars().all(is_word)));
        }
    }
}
