/* What the guest is, its clock, and its end. */
#include "command.h"

/* Scripts of the Linux below. Wine's CreateProcess starts them, too, but gives no handle: nothing
 * tells how they end. Scripts, because a Linux program would get a Windows path as its own name. */
#define SHUTDOWN L"Z:\\sbin\\shutdown"
#define SET_CLOCK L"Z:\\sbin\\setclock "

static bool start_below(const WCHAR *line, DWORD *error)
{
	WCHAR copy[128];
	STARTUPINFOW start = {.cb = sizeof start};
	PROCESS_INFORMATION made = {0};
	lstrcpynW(copy, line, ARRAYSIZE(copy));
	bool started = CreateProcessW(NULL, copy, NULL, NULL, FALSE, 0, NULL, NULL, &start, &made);
	*error = GetLastError();
	if (made.hProcess)
		CloseHandle(made.hProcess);
	if (made.hThread)
		CloseHandle(made.hThread);
	return started;
}

static void put_member(struct buffer *value, const char *name, const char *text)
{
	buffer_text(value, value->length ? "," : "{");
	json_put_string(value, name, text_length(name));
	buffer_text(value, ":");
	json_put_string(value, text, text_length(text));
}

void system_osinfo(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {NULL};
	if (!arguments_known(arguments, reply, names))
		return;
	struct buffer pretty = {0};
	union {
		FARPROC found;
		void(CDECL * version)(const char **system, const char **release);
	} host = {GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_host_version")};
	const char *system = "unknown", *release = "unknown";
	if (host.found)
		host.version(&system, &release);
	buffer_text(&pretty, "Wine ");
	buffer_text(&pretty, wine_version());
	buffer_put(&pretty, "", 1);
	/* Not Windows, and it must never be taken for it. */
	put_member(&reply->value, "id", "wine");
	put_member(&reply->value, "name", "Wine");
	put_member(&reply->value, "pretty-name", pretty.failed ? "Wine" : pretty.bytes);
	put_member(&reply->value, "version", wine_version());
	put_member(&reply->value, "version-id", wine_version());
	put_member(&reply->value, "kernel-release", release);
	put_member(&reply->value, "kernel-version", system);
	put_member(&reply->value, "machine", "x86_64");
	buffer_text(&reply->value, "}");
	buffer_free(&pretty);
}

void system_host_name(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {NULL};
	WCHAR name[256];
	DWORD length = ARRAYSIZE(name);
	struct buffer text = {0};
	if (!arguments_known(arguments, reply, names))
		return;
	if (!GetComputerNameExW(ComputerNameDnsHostname, name, &length)) {
		refuse_system(reply, "no host name", "", GetLastError());
		return;
	}
	buffer_from_wide(&text, name);
	buffer_put(&text, "", 1);
	if (!text.failed) {
		put_member(&reply->value, "host-name", text.bytes);
		buffer_text(&reply->value, "}");
	}
	buffer_free(&text);
}

/* --- The clock --------------------------------------------------------------- */

/* FILETIME counts from 1601, Unix from 1970; in units of 100 ns. */
#define UNIX_EPOCH INT64_C(116444736000000000)

static int64_t now(void)
{
	FILETIME time;
	GetSystemTimeAsFileTime(&time);
	return ((int64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) - UNIX_EPOCH;
}

void system_get_time(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {NULL};
	if (arguments_known(arguments, reply, names))
		buffer_number(&reply->value, now() * 100);
}

/* Wine's SetSystemTime is refused by the Linux below, whose own program can, to the second. */
void system_set_time(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"time", NULL};
	enum { SECOND = 1000000000, TRIES = 50, PAUSE = 100 };
	int64_t time = -1;
	WCHAR line[64] = SET_CLOCK L"rtc";
	DWORD error;
	if (!arguments_known(arguments, reply, names) || !argument_integer(arguments, reply, "time", IF_GIVEN, &time))
		return;
	bool given = json_member(arguments, "time") != NULL;
	if (given) {
		WCHAR digits[24];
		size_t at = ARRAYSIZE(digits) - 1;
		int64_t seconds = time / SECOND;
		digits[at] = 0;
		if (time < 0) {
			refuse(reply, "the time is before 1970", NULL);
			return;
		}
		/* Rounded: `date` knows no fractions. */
		seconds += time % SECOND >= SECOND / 2;
		do
			digits[--at] = (WCHAR)('0' + seconds % 10);
		while (seconds /= 10);
		lstrcpyW(line, SET_CLOCK);
		lstrcatW(line, digits + at);
	}
	if (!start_below(line, &error)) {
		refuse_system(reply, "cannot set the clock", "", error);
		return;
	}
	for (int i = 0; given && i < TRIES; i++) {
		int64_t off = now() * 100 - time;
		if (off > -SECOND && off < 4 * (int64_t)SECOND)
			return;
		Sleep(PAUSE);
	}
	if (given)
		refuse(reply, "the clock was not set", NULL);
}

/* --- The end ----------------------------------------------------------------- */

void system_shutdown(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"mode", NULL};
	static const struct {
		const char *mode;
		const WCHAR *line;
	} modes[] = {{"powerdown", SHUTDOWN L" -P"}, {"reboot", SHUTDOWN L" -r"}, {"halt", SHUTDOWN L" -H"}};
	const struct json *mode = NULL;
	DWORD error;
	if (!arguments_known(arguments, reply, names) || !argument_string(arguments, reply, "mode", IF_GIVEN, &mode))
		return;
	size_t i = 0;
	while (mode && i < ARRAYSIZE(modes) && !text_is(mode->text, mode->length, modes[i].mode))
		i++;
	if (i == ARRAYSIZE(modes))
		refuse(reply, "Parameter 'mode' expects 'halt', 'powerdown', or 'reboot'", NULL);
	else if (!start_below(modes[i].line, &error))
		refuse_system(reply, "cannot shut down", "", error);
	else
		reply->silent = true;
}
