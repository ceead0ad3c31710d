//! Batch scripts that bring a program's output and exit code into files.

use crate::guest::{Command, Script};

/// The system's folder for temporary files: it is on every Windows, and what programs run by the agent write.
const FOLDER: &str = r"C:\Windows\Temp";

/// `cmd.exe` without the user's AutoRun commands.
const CMD: &str = r"C:\Windows\System32\cmd.exe";

/// The longest line that `cmd.exe` reads, in characters (Microsoft: "Command prompt line string limitation").
const LONGEST: usize = 8191;

/// The files of one command: `PREFIX.cmd`, `.out`, `.err`, `.code` and whatever else.
pub(super) fn prefix(tag: &str) -> String {
    format!(r"{FOLDER}\bootgate-{tag}")
}

/// Runs one command line of a batch script with its output in files, and leaves its exit code in a third.
///
/// Files and not pipes: a background process that an installer leaves behind inherits its output, and the agent calls
/// a program with an open output pipe "still running". `further`: files that the command line needs.
pub(super) fn captured(tag: &str, line: &str, further: Vec<Script>) -> Command {
    let prefix = prefix(tag);
    let redirected = line.len() + 3 * prefix.len() + 40;
    let line = match redirected {
        0..=LONGEST => line,
        // Cut in two, its first half would be run.
        _ => "(echo the command line is longer than cmd.exe takes: bring what is long in by a file>&2& exit 87)",
    };
    let text = format!(
        "if exist \"{prefix}.code\" del /f /q \"{prefix}.code\"\r\n{line} >\"{prefix}.out\" 2>\"{prefix}.err\" <nul\r\nset c=%errorlevel%\r\n>\"{prefix}.code\" echo %c%\r\nexit %c%\r\n"
    );
    let main = script(format!("{prefix}.cmd"), &text);
    let mut scripts = further;
    scripts.push(main);
    Command {
        scripts,
        path: CMD.to_owned(),
        args: vec!["/d".to_owned(), "/c".to_owned(), format!("{prefix}.cmd")],
        stdout: format!("{prefix}.out"),
        stderr: format!("{prefix}.err"),
        code: format!("{prefix}.code"),
    }
}

/// Runs a batch script of several lines, in which `exit` ends no more than itself.
pub(super) fn captured_script(tag: &str, lines: &str) -> Command {
    let path = format!("{}-body.cmd", prefix(tag));
    let line = line(CMD, ["/d", "/c", path.as_str()]);
    captured(tag, &line, vec![script(path, lines)])
}

/// Removes files, and says nothing if they are not there.
pub(super) fn removal(command: &Command) -> Command {
    let scripts = command.scripts.iter().map(|script| script.path.as_str());
    let files = scripts.chain([&*command.stdout, &*command.stderr, &*command.code]).filter(|path| !path.is_empty());
    let mut args: Vec<String> = ["/d", "/c", "del", "/f", "/q"].map(str::to_owned).to_vec();
    args.extend(files.map(str::to_owned));
    Command { path: CMD.to_owned(), args, ..Command::default() }
}

/// Removes a folder and all that is in it.
pub(super) fn folder_removal(folder: &str) -> Command {
    let args = ["/d", "/c", "rmdir", "/s", "/q", folder].map(str::to_owned).to_vec();
    Command { path: CMD.to_owned(), args, ..Command::default() }
}

/// A batch file. `cmd.exe` reads it in the console's code page, which is set where that makes a difference.
fn script(path: String, lines: &str) -> Script {
    let utf8 = if lines.is_ascii() { "" } else { "chcp 65001 >nul\r\n" };
    let lines = lines.replace("\r\n", "\n").replace('\n', "\r\n");
    Script { path, content: format!("@echo off\r\n{utf8}{lines}\r\n").into_bytes() }
}

/// An argument as `CommandLineToArgvW` and the C runtime read it back (Microsoft: "Parsing C command-line arguments").
pub(super) fn quoted(argument: &str) -> String {
    if !argument.is_empty() && !argument.contains([' ', '\t', '\n', '\u{b}', '"']) {
        return argument.to_owned();
    }
    let mut text = String::from("\"");
    let mut backslashes = 0;
    for c in argument.chars() {
        match c {
            '\\' => backslashes += 1,
            '"' => {
                // Twice as many before a quote, and one for the quote itself.
                text.extend(std::iter::repeat_n('\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        text.push(c);
    }
    text.extend(std::iter::repeat_n('\\', backslashes));
    text.push('"');
    text
}

/// Text that `cmd.exe` hands on as it is, in a batch script: with every quote escaped it never begins a quotation, in
/// which other characters could not be. Line ends cannot be escaped.
pub(super) fn caret(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '%' => escaped.push('%'),
            '(' | ')' | '!' | '^' | '"' | '<' | '>' | '&' | '|' => escaped.push('^'),
            _ => {}
        }
        escaped.push(c);
    }
    escaped
}

/// A program and its arguments as one line of a batch script.
pub(super) fn line<'a>(program: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let words = words.into_iter().map(|word| caret(&quoted(word)));
    std::iter::once(in_quotes(program)).chain(words).collect::<Vec<_>>().join(" ")
}

/// A path in a batch script. It has no quotes of its own, and within quotes only `%` means something. The program itself
/// must stand so: with escaped quotes its name would end at its first blank.
pub(super) fn in_quotes(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_stay_apart_and_whole() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted(r"C:\Program Files\"), r#""C:\Program Files\\""#);
        assert_eq!(quoted(r#"say "a\" b"#), r#""say \"a\\\" b""#);
        assert_eq!(line(r"C:\a b\c%.exe", ["a b", "100%", "x&y"]), r#""C:\a b\c%%.exe" ^"a b^" 100%% x^&y"#);
    }

    #[test]
    fn output_and_exit_code_go_into_files() {
        let command = captured("7", "ver", Vec::new());
        let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
        assert!(text.contains("\r\nver >\"C:\\Windows\\Temp\\bootgate-7.out\" 2>"), "{text}");
        assert!(text.contains("exit %c%\r\n") && !text.contains("chcp"), "{text}");
        assert_eq!(command.args, ["/d", "/c", r"C:\Windows\Temp\bootgate-7.cmd"]);
        let removed = removal(&command).args;
        assert_eq!(removed.len(), 5 + 4, "{removed:?}");
    }

    #[test]
    fn a_command_line_that_would_be_cut_is_not_run() {
        let command = captured("7", &"x".repeat(8100), Vec::new());
        let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
        assert!(text.contains("exit 87") && !text.contains("xxx"), "{text}");
    }

    #[test]
    fn text_beyond_ascii_is_read_as_utf_8() {
        let command = captured_script("7", "echo ä\nexit 3");
        let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
        assert_eq!(text, "@echo off\r\nchcp 65001 >nul\r\necho ä\r\nexit 3\r\n");
    }

    /// What the C runtime makes of an argument's text.
    fn unquoted(text: &str) -> String {
        let (mut out, mut backslashes) = (String::new(), 0);
        for c in text.chars() {
            match c {
                '\\' => backslashes += 1,
                '"' => {
                    out.extend(std::iter::repeat_n('\\', backslashes / 2));
                    if backslashes % 2 == 1 {
                        out.push('"');
                    }
                    backslashes = 0;
                }
                c => {
                    out.extend(std::iter::repeat_n('\\', backslashes));
                    backslashes = 0;
                    out.push(c);
                }
            }
        }
        out.extend(std::iter::repeat_n('\\', backslashes));
        out
    }

    proptest! {
        #[test]
        fn every_argument_comes_back_as_it_was(argument in r#"[a-c \\"%&^]{0,12}"#) {
            prop_assert_eq!(unquoted(&quoted(&argument)), argument);
        }

        #[test]
        fn the_shell_sees_no_quotation_and_no_operator(argument in r#"[a-c \\"%&^|<>()]{0,12}"#) {
            let text = caret(&argument);
            let mut seen = String::new();
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '^' => seen.extend(chars.next()),
                    '%' => { prop_assert_eq!(chars.next(), Some('%')); seen.push('%'); }
                    '"' | '&' | '|' | '<' | '>' | '(' | ')' => prop_assert!(false, "bare {}", c),
                    c => seen.push(c),
                }
            }
            prop_assert_eq!(seen, argument);
        }
    }
}
