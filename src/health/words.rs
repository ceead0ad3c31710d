//! Sentences of the judge.

use crate::model::{Bugcheck, Exit, StepResult, cut};

/// What a kernel said when it stopped; `console`: its last words on the console.
pub(super) fn panic(bugcheck: Option<&Bugcheck>, console: Option<&str>) -> String {
    match (bugcheck, console) {
        (Some(bugcheck), _) => bugcheck.to_string(),
        (None, Some(text)) => format!("the kernel stopped: {text}"),
        (None, None) => "the kernel panicked".to_owned(),
    }
}

/// Whether a kernel panics because its timer's interrupts did not come in time: an emulated guest whose host gave it no
/// core in these milliseconds (Linux `arch/x86/kernel/apic/io_apic.c`, `check_timer`). Under KVM it does not look.
pub(super) fn is_for_want_of_a_core(panic: &str) -> bool {
    panic.contains("IO-APIC + timer doesn't work")
}

/// How a step ended, with the last line it said.
pub(super) fn ended(result: &StepResult) -> String {
    let within = if result.exit == Exit::Timeout { format!(" within {}", result.took) } else { String::new() };
    let how = format!("{}{within}", result.exit);
    match last_line(&result.output.stderr).or_else(|| last_line(&result.output.stdout)) {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(cut(line, 160))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bugcheck_is_told_by_its_name_where_it_has_one() {
        let told = |code| panic(Some(&Bugcheck { code, parameters: [0x10, 0xff, 0, u64::MAX] }), Some("ignored"));
        assert_eq!(
            told(0xd1),
            "bugcheck 0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0xff, 0x0, 0xffffffffffffffff)"
        );
        assert_eq!(told(0xbad_c0de), "bugcheck 0x0badc0de (0x10, 0xff, 0x0, 0xffffffffffffffff)");
    }
}
