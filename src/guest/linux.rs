use super::{BootId, Command, ExecStatus, Facts, GuestFamily, Look, Placed};
use crate::model::{Exit, StepKind};

/// A Linux guest with a POSIX shell at `/bin/sh`.
pub(super) struct Linux;

/// Where captured output goes: memory where there is such a place, so that a full or read-only disk
/// does not look like a failed step.
const OUTPUT_FOLDER: &str = "/run";

/// `sh -c SCRIPT bootgate PREFIX ARG...`: runs ARG... with its output in `PREFIX.out` and `PREFIX.err`, and
/// leaves its exit code in `PREFIX.code`.
///
/// Files and not pipes: a background process that a step leaves behind inherits its output, and the
/// agent calls a program with an open output pipe "still running". The code in a file outlives the agent:
/// an update may restart it, and the new one does not know the old one's programs. Nor does systemd end them with the agent: they
/// are in the root of the control groups (version 2), not in the agent's own. The mask is root's usual
/// one, whatever the agent's is.
const CAPTURE: &str = r#"umask 022; g=/sys/fs/cgroup/cgroup.procs; [ ! -w "$g" ] || echo $$ 2>/dev/null >"$g"; o="$1"; shift; exec >"$o.out" 2>"$o.err" </dev/null; "$@"; c=$?; echo "$c" >"$o.code"; exit "$c""#;

/// Asks systemd where there is one; elsewhere an answering agent is all there is to ask for.
const SETTLED: &str = "command -v systemctl >/dev/null || exit 0; \
    case $(systemctl is-system-running) in running|degraded) exit 0;; *) exit 1;; esac";

/// Services where there is systemd, else the programs that run: kernel threads have no command line. One that was stopped
/// (`T` in proc(5)'s `stat`) does not run. No program more than needed: an emulated guest takes long to start one.
const SERVICES: &str = r#"if command -v systemctl >/dev/null; then
  systemctl show '*.service' -p Id -p MainPID -p SubState; echo
else
  for p in /proc/[0-9]*; do
    case ${p#/proc/} in $$|$PPID) continue;; esac
    c= n=
    { IFS= read -r c <"$p/cmdline"; IFS= read -r n <"$p/comm"; } 2>/dev/null
    [ -z "$c" ] || echo "program ${p#/proc/} $n"
  done
fi
for p in /proc/[0-9]*; do
  s=
  { read -r s <"$p/stat"; } 2>/dev/null
  case ${s##*) } in T*) echo "stopped ${p#/proc/}";; esac
done
read -r s _ </proc/uptime
echo "uptime $s"
echo "time $(date +%s)"
"#;

/// Log levels as the kernel's ring buffer numbers them: eight times the facility, plus the level, of which 3 is `err`. A route
/// without an interface or with flag 0x200 (`RTF_REJECT`) leads nowhere. Of a file system `stat` tells how many files it can hold and still may.
const REST: &str = r#"dmesg -r 2>/dev/null | sed -n 's/^<\([0-9]*\)>.*/\1/p' | sort | uniq -c | while read -r c l; do echo "log $l $c"; done
while read -r k v _; do case $k in MemTotal:) t=$v;; MemAvailable:) echo "memory $t $v"; break;; esac; done </proc/meminfo
df -P -k 2>/dev/null | {
  while read -r d s _ a _ m; do case $d in /dev/*) echo "disk $s $a $m"; set -- "$@" "$m";; esac; done
  [ $# = 0 ] || stat -f -c 'files %c %d %n' "$@" 2>/dev/null
}
while read -r d m t o _; do
  case $d in /dev/*) case ",$o," in *,ro,*) echo "readonly $m";; esac;; esac
  [ "$t" != autofs ] || echo "automount $m"
done </proc/mounts
for p in /sys/class/net/*; do
  n=${p##*/}; [ "$n" != lo ] && read -r s <"$p/operstate" && [ "$s" = up ] && echo "network $n up"
  [ ! -e "$p/master" ] || echo "network $n enslaved"
done 2>/dev/null
ip -o addr show scope global 2>/dev/null | while read -r _ n _; do echo "network $n address"; done
while read -r i t g f _ _ _ m _; do
  [ "$t$m" = 0000000000000000 ] && [ "$i" != '*' ] && [ $((0x$f & 0x200)) = 0 ] || continue
  echo "network default route"
  [ "$g" = 00000000 ] || echo "network gateway $g"
done </proc/net/route 2>/dev/null
while read -r k _; do [ "$k" != nameserver ] || { echo "network dns"; break; }; done 2>/dev/null </etc/resolv.conf
for f in /var/crash/* /var/lib/systemd/coredump/* /sys/fs/pstore/dmesg-*; do
  case $f in */kexec_cmd|*/kdump_lock) continue;; esac
  [ ! -d "$f" ] || [ -n "$(ls -A "$f")" ] || continue
  [ ! -e "$f" ] || echo "dump $f"
done
for f in /var/core/* /core /core.[0-9]* /root/core /root/core.[0-9]* /tmp/core /tmp/core.[0-9]* /var/tmp/core /var/tmp/core.[0-9]*; do
  [ ! -f "$f" ] || echo "dump $f"
done
"#;

/// What the log holds at that level or worse. Decimal numbers are left aside here, as they are by who reads it ([`Look::read`]):
/// else one error with a number in it would be as many as the cap counts. They come last: what is printed may be cut. Without a
/// journal the kernel's ring buffer is asked, and what BusyBox' syslogd, which writes the level, has logged since it began.
const ERRORS: &str = r#"if command -v journalctl >/dev/null; then
  journalctl -b -p 3 -o cat --no-pager -q | sed 's/[0-9#][0-9#]*/#/g' | sort -u | sed -e '4001{' -e 's/.*/errors cut/' -e q -e '}' -e 's/^/error /'
else
  command -v awk >/dev/null || echo "errors cut"
  dmesg -r | awk -F '[<>]' '$1 == "" && $2 % 8 < 4 { print "error " $0 }'
  { logread || { pidof syslogd >/dev/null && cat /var/log/messages; }; } | awk '/ syslogd started: BusyBox/ { n = 0 }
    $6 != "kernel:" && $5 ~ /\.(err|crit|alert|emerg)$/ {
      for (i = 0; i < 5; i++) sub(/^[^ ]+ +/, "")
      sub(/\[[0-9]+\]/, "")
      e[n++] = $0
    }
    END { for (i = 0; i < n; i++) print "error " e[i] }'
fi 2>/dev/null
exit 0"#;

/// Whether a panic device has its driver: on the ISA bus (`pvpanic`, ACPI's QEMU0001) or on PCI.
const FACTS: &str = r#"for d in /sys/bus/acpi/devices/QEMU0001:00/physical_node/driver /sys/bus/pci/drivers/pvpanic*/0*; do
  [ ! -e "$d" ] || { echo pvpanic=yes; exit 0; }
done; echo pvpanic=no"#;

/// Mounts the first CD drive, copies NAME TO pairs, unmounts.
const FROM_MEDIUM: &str = r#"m=/run/bootgate-medium; mkdir -p "$m"
i=0; until mount -t iso9660 -o ro /dev/sr0 "$m" 2>/dev/null; do
  i=$((i+1)); [ "$i" -lt 50 ] || { echo "the CD drive shows no medium" >&2; exit 1; }; sleep 0.2
done
trap 'umount "$m"; rmdir "$m"' EXIT
while [ "$#" -gt 1 ]; do cat "$m/$1" >"$2" || exit 1; shift 2; done"#;

/// FROM TO MODE triples; an empty MODE keeps that of the file that was there, else it is 644.
const PLACE: &str = r#"set -e
while [ "$#" -gt 2 ]; do
  [ ! -d "$2" ] || { echo "$2 is a folder: give the whole path of the file" >&2; exit 1; }
  m="$3"; [ -n "$m" ] || { m=644; [ ! -e "$2" ] || m=$(stat -c %a "$2"); }
  chmod "$m" "$1"
  mv -f "$1" "$2"; shift 3
done"#;

fn shell(tag: &str, command: &[&str]) -> Command {
    let prefix = format!("{OUTPUT_FOLDER}/bootgate-{tag}");
    let mut args = vec!["-c".to_owned(), CAPTURE.to_owned(), "bootgate".to_owned(), prefix.clone()];
    args.extend(command.iter().map(|&word| word.to_owned()));
    Command {
        scripts: Vec::new(),
        path: "/bin/sh".to_owned(),
        args,
        stdout: format!("{prefix}.out"),
        stderr: format!("{prefix}.err"),
        code: format!("{prefix}.code"),
    }
}

/// A program whose output nobody wants.
fn quiet(path: &str, args: &[&str]) -> Command {
    let args = args.iter().map(|&word| word.to_owned()).collect();
    Command { path: path.to_owned(), args, ..Command::default() }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent })
}

impl GuestFamily for Linux {
    fn command(&self, kind: &StepKind, _facts: &Facts, tag: &str) -> Option<Command> {
        match kind {
            StepKind::Run { argv } => {
                let words: Vec<&str> = argv.iter().map(String::as_str).collect();
                Some(shell(tag, &words))
            }
            StepKind::Sh { script } => Some(shell(tag, &["/bin/sh", "-c", script])),
            _ => None,
        }
    }

    fn boot_id(&self, _tag: &str) -> BootId {
        BootId::File("/proc/sys/kernel/random/boot_id")
    }

    fn settled(&self, probe: Option<&str>, _tag: &str) -> Option<Command> {
        // Asked again and again while the machine boots: no program more than needed.
        Some(quiet("/bin/sh", &["-c", probe.unwrap_or(SETTLED)]))
    }

    fn services(&self, tag: &str) -> Command {
        shell(tag, &["/bin/sh", "-c", SERVICES])
    }

    fn inventory(&self, tag: &str) -> Command {
        shell(tag, &["/bin/sh", "-c", &[SERVICES, REST, ERRORS].concat()])
    }

    fn facts(&self, tag: &str) -> Option<Command> {
        Some(shell(tag, &["/bin/sh", "-c", FACTS]))
    }

    fn read_facts(&self, printed: &str) -> Facts {
        let pairs = printed.lines().filter_map(|line| line.split_once('='));
        pairs.filter(|(name, _)| *name == "pvpanic").map(|(name, value)| (name.into(), value.trim().into())).collect()
    }

    fn read_look(&self, printed: &str) -> Look {
        Look::read(printed)
    }

    fn make_parents(&self, files: &[&str], tag: &str) -> Command {
        let mut words = vec!["mkdir", "-p", "--"];
        words.extend(files.iter().map(|path| parent(path)));
        words[3..].sort_unstable();
        words.dedup();
        shell(tag, &words)
    }

    fn place(&self, files: &[Placed], tag: &str) -> Command {
        let mut words = vec!["/bin/sh".to_owned(), "-c".to_owned(), PLACE.to_owned(), "bootgate".to_owned()];
        for file in files {
            let mode = file.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
            words.extend([self.beside(&file.to), file.to.clone(), mode]);
        }
        shell(tag, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn copy_from_medium(&self, files: &[(String, String)], tag: &str) -> Command {
        let beside: Vec<(&str, String)> = files.iter().map(|(name, to)| (name.as_str(), self.beside(to))).collect();
        let mut words = vec!["/bin/sh", "-c", FROM_MEDIUM, "bootgate"];
        words.extend(beside.iter().flat_map(|(name, to)| [*name, to.as_str()]));
        shell(tag, &words)
    }

    fn beside(&self, path: &str) -> String {
        format!("{path}.bootgate")
    }

    fn remove_output(&self, command: &Command) -> Command {
        quiet("/bin/rm", &["-f", &command.stdout, &command.stderr, &command.code])
    }

    fn exit(&self, status: &ExecStatus) -> Exit {
        match (status.exitcode, status.signal) {
            (_, Some(signal)) => Exit::Signal { signal: i32::try_from(signal).unwrap_or(i32::MAX) },
            (Some(code), None) => Exit::Code { code: i32::try_from(code).unwrap_or(i32::MAX) },
            (None, None) => Exit::Refused { message: "the agent gave neither an exit code nor a signal".to_owned() },
        }
    }

    fn evidence(&self) -> &'static [&'static str] {
        &["/etc/os-release", "/var/log/messages", "/var/log/syslog", "/var/log/dmesg"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GuestState;

    /// What the errors of a guest with such a journal come to.
    fn journal(prints: &str) -> GuestState {
        let script = format!("journalctl() {{ {prints}; }}\n{ERRORS}");
        let run = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert!(run.status.success());
        let look = Look::read(&String::from_utf8(run.stdout).unwrap());
        look.clone().since(&look)
    }

    #[test]
    fn one_error_with_numbers_that_change_is_one_error_however_often_it_comes() {
        let often = journal("seq 5000 | sed 's/.*/[  &.5] ata#&: error 0x& at &/'");
        assert_eq!((&often.errors[..], often.errors_cut), (&["ata#: error #x# at #".to_owned()][..], false));
        let different = "seq 5000 | tr 0-9 a-j";
        assert!(journal(different).errors_cut);
        assert_eq!(journal("echo 'odd 7'; echo 'odd 8'; echo even").errors, ["even", "odd #"]);
    }

    #[test]
    fn a_command_keeps_its_words_apart_and_its_output_in_files() {
        let kind = StepKind::Run { argv: vec!["/bin/echo".into(), "a b; rm -rf /".into()] };
        let command = Linux.command(&kind, &Facts::new(), "7").unwrap();
        assert_eq!(command.args[4..], ["/bin/echo", "a b; rm -rf /"]);
        assert_eq!(command.stdout, "/run/bootgate-7.out");
    }

    #[test]
    fn the_folder_of_a_file_in_the_root_is_the_root() {
        assert_eq!(parent("/vmlinuz"), "/");
        let command = Linux.make_parents(&["/etc/a/b", "/opt/x", "/etc/a/c"], "1");
        assert_eq!(command.args[4..], ["mkdir", "-p", "--", "/etc/a", "/opt"]);
    }
}
