/* The QEMU guest agent's protocol (QEMU, "QEMU Guest Agent Protocol Reference"), served by a
 * program of Wine's world: paths are C:\ paths, programs start as Windows starts them, and exit
 * codes have 32 bits. */
#include "channel.h"
#include "command.h"

#define PORT L"Z:\\dev\\virtio-ports\\org.qemu.guest_agent.0"
#define VERSION "1.0"

static command ping, sync, sync_delimited, info;

static const struct {
	const char *name;
	command *run;
	bool success_response;
} commands[] = {
	{"guest-sync", sync, true},
	{"guest-sync-delimited", sync_delimited, true},
	{"guest-ping", ping, true},
	{"guest-info", info, true},
	{"guest-get-osinfo", system_osinfo, true},
	{"guest-get-host-name", system_host_name, true},
	{"guest-get-time", system_get_time, true},
	{"guest-set-time", system_set_time, true},
	{"guest-shutdown", system_shutdown, false},
	{"guest-exec", exec_start, true},
	{"guest-exec-status", exec_status, true},
	{"guest-file-open", file_open, true},
	{"guest-file-close", file_close, true},
	{"guest-file-read", file_read, true},
	{"guest-file-write", file_write, true},
	{"guest-file-seek", file_seek, true},
	{"guest-file-flush", file_flush, true},
};

static void ping(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {NULL};
	arguments_known(arguments, reply, names);
}

static void sync(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"id", NULL};
	int64_t id = 0;
	if (arguments_known(arguments, reply, names) && argument_integer(arguments, reply, "id", REQUIRED, &id))
		buffer_number(&reply->value, id);
}

static void sync_delimited(const struct json *arguments, struct reply *reply)
{
	sync(arguments, reply);
	reply->delimited = !reply->error.length;
}

static void info(const struct json *arguments, struct reply *reply)
{
	struct buffer *value = &reply->value;
	ping(arguments, reply);
	buffer_text(value, "{\"version\":\"" VERSION " (bootgate, Wine)\",\"supported_commands\":[");
	for (size_t i = 0; i < ARRAYSIZE(commands); i++) {
		buffer_text(value, i ? ",{\"name\":\"" : "{\"name\":\"");
		buffer_text(value, commands[i].name);
		buffer_text(value, "\",\"enabled\":true,\"success-response\":");
		buffer_text(value, commands[i].success_response ? "true}" : "false}");
	}
	buffer_text(value, "]}");
}

static void dispatch(const struct json *request, struct reply *reply)
{
	const struct json *name = json_member(request, "execute"), *arguments = json_member(request, "arguments");
	if (request->kind != JSON_OBJECT) {
		refuse(reply, "QMP input must be a JSON object", NULL);
		return;
	}
	for (const struct json *one = request->first; one; one = one->next) {
		if (text_is(one->name, one->name_length, "execute") || text_is(one->name, one->name_length, "arguments") ||
		    text_is(one->name, one->name_length, "id"))
			continue;
		refuse(reply, "QMP input member '", one->name, "' is unexpected", NULL);
		return;
	}
	if (!name || name->kind != JSON_STRING) {
		refuse(reply, name ? "QMP input member 'execute' must be a string" : "QMP input lacks member 'execute'", NULL);
		return;
	}
	if (arguments && arguments->kind != JSON_OBJECT) {
		refuse(reply, "QMP input member 'arguments' must be an object", NULL);
		return;
	}
	for (size_t i = 0; i < ARRAYSIZE(commands); i++) {
		if (text_is(name->text, name->length, commands[i].name)) {
			commands[i].run(arguments, reply);
			return;
		}
	}
	reply->error_class = "CommandNotFound";
	refuse(reply, "The command ", name->text, " has not been found", NULL);
}

static void put_error(struct buffer *out, const struct reply *reply)
{
	buffer_text(out, "{\"error\":{\"class\":\"");
	buffer_text(out, reply->error_class ? reply->error_class : "GenericError");
	buffer_text(out, "\",\"desc\":");
	json_put_string(out, reply->error.bytes, reply->error.length);
	buffer_text(out, "}");
}

static void send_reply(HANDLE port, struct reply *reply, const struct json *id)
{
	struct buffer out = {0};
	if (reply->delimited)
		buffer_put(&out, "\xFF", 1);
	if (reply->value.failed)
		refuse(reply, "the reply does not fit into memory", NULL);
	if (reply->error.length) {
		put_error(&out, reply);
	} else {
		buffer_text(&out, "{\"return\":");
		buffer_put(&out, reply->value.bytes, reply->value.length);
		if (!reply->value.length)
			buffer_text(&out, "{}");
	}
	if (id) {
		buffer_text(&out, ",\"id\":");
		json_put(&out, id);
	}
	buffer_text(&out, "}\n");
	static const char no_memory[] = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"out of memory\"}}\n";
	if (out.failed)
		channel_write(port, no_memory, sizeof no_memory - 1);
	else
		channel_write(port, out.bytes, out.length);
	buffer_free(&out);
}

static void answer(HANDLE port, enum cut cut, const struct buffer *text)
{
	struct reply reply = {.value.limit = 2 * (size_t)REPLY_LIMIT, .error.limit = 4096};
	struct json_document request = {0};
	if (cut == CUT_REQUEST)
		json_read(&request, text->bytes, text->length);
	if (request.root)
		dispatch(request.root, &reply);
	else if (cut == CUT_TOO_LONG)
		refuse(&reply, "JSON parse error, a request of more than 16 MiB", NULL);
	else
		refuse(&reply, "JSON parse error, ", request.error ? request.error : "this is no request", NULL);
	if (!reply.silent || reply.error.length)
		send_reply(port, &reply, json_member(request.root, "id"));
	json_free(&request);
	buffer_free(&reply.value);
	buffer_free(&reply.error);
}

void entry(void)
{
	static char bytes[65536];
	struct cutter cutter = {0};
	/* Where a service of Windows starts. */
	SetCurrentDirectoryW(L"C:\\windows\\system32");
	/* No dialog may wait for somebody who is not there. */
	SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
	HANDLE port = channel_open(PORT);
	DWORD length;
	while ((length = channel_read(port, bytes, sizeof bytes))) {
		for (DWORD i = 0; i < length; i++) {
			enum cut cut = cutter_take(&cutter, bytes[i]);
			if (cut == CUT_MORE)
				continue;
			answer(port, cut, &cutter.text);
			cutter_next(&cutter);
		}
	}
	/* Who started this starts it again. */
	ExitProcess(1);
}
