/* guest-exec and guest-exec-status. */
#include "cmdline.h"
#include "command.h"
#include "marker.h"

/* qemu-ga's own limit for each of the two outputs. */
enum { OUTPUT_LIMIT = 16 << 20, MOST_PROCESSES = 256, STUB_SIZE = 256 << 10 };

/* The thread owns `bytes` until it has ended, so nothing needs a lock. */
struct output {
	HANDLE pipe;
	HANDLE thread;
	struct buffer bytes;
	bool truncated;
};

/* Freed by the thread that writes it: a program need not read what it is given. */
struct input {
	HANDLE pipe;
	struct buffer bytes;
};

struct process {
	HANDLE handle; /* NULL: the place is free */
	DWORD id;
	struct output out;
	struct output err;
};

static struct process processes[MOST_PROCESSES];

static DWORD WINAPI read_output(void *argument)
{
	struct output *output = argument;
	char bytes[4096];
	DWORD length;
	while (ReadFile(output->pipe, bytes, sizeof bytes, &length, NULL)) {
		/* Beyond the limit it is read and dropped, or the program would wait for ever. */
		if (output->bytes.length + length > OUTPUT_LIMIT || output->bytes.failed)
			output->truncated = true;
		else
			buffer_put(&output->bytes, bytes, length);
	}
	output->truncated = output->truncated || output->bytes.failed;
	CloseHandle(output->pipe);
	return 0;
}

static DWORD WINAPI write_input(void *argument)
{
	struct input *input = argument;
	size_t done = 0;
	DWORD written;
	while (done < input->bytes.length &&
	       WriteFile(input->pipe, input->bytes.bytes + done, (DWORD)(input->bytes.length - done), &written, NULL))
		done += written;
	CloseHandle(input->pipe);
	buffer_free(&input->bytes);
	heap_free(input);
	return 0;
}

static void inherit(HANDLE handle) { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT); }

static void drop(HANDLE *handle)
{
	if (*handle && *handle != INVALID_HANDLE_VALUE)
		CloseHandle(*handle);
	*handle = NULL;
}

/* --- What Wine only stubs ---------------------------------------------------- */

/* Whether the file is the program that stands in for one that Wine has no real one of. Known by
 * its content, so that no path or copy hides it, and nobody's own program of the same name is hit. */
static bool is_stub(const WCHAR *file)
{
	HANDLE handle = CreateFileW(file, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
				    OPEN_EXISTING, 0, NULL);
	if (handle == INVALID_HANDLE_VALUE)
		return false;
	LARGE_INTEGER size;
	char *bytes = NULL;
	DWORD length = 0;
	bool found = false;
	if (GetFileSizeEx(handle, &size) && size.QuadPart < STUB_SIZE && (bytes = heap_get(STUB_SIZE)) &&
	    ReadFile(handle, bytes, (DWORD)size.QuadPart, &length, NULL)) {
		size_t marker = sizeof STUB_MARKER - 1;
		for (size_t i = 0; !found && i + marker <= length; i++)
			found = text_is(bytes + i, marker, STUB_MARKER);
	}
	heap_free(bytes);
	CloseHandle(handle);
	return found;
}

/* Refuses a stub, wherever CreateProcess would find it. */
static bool real_program(const struct json *path, struct reply *reply)
{
	WCHAR found[MAX_PATH], *last = NULL;
	WCHAR *name = wide(path->text, path->length);
	DWORD length = name ? SearchPathW(NULL, name, L".exe", ARRAYSIZE(found), found, &last) : 0;
	heap_free(name);
	if (!length || length >= ARRAYSIZE(found) || !is_stub(found))
		return true;
	struct buffer said = {0};
	buffer_from_wide(&said, last ? last : found);
	buffer_put(&said, "", 1);
	refuse(reply, said.failed ? "the program" : said.bytes, STUB_WORDS, NULL);
	buffer_free(&said);
	return false;
}

/* --- guest-exec -------------------------------------------------------------- */

/* "NAME=VALUE" texts as CreateProcess wants them; they replace the environment, as with qemu-ga. */
static WCHAR *environment(const struct json *texts)
{
	struct buffer block = {0};
	for (const struct json *one = texts->first; one; one = one->next) {
		WCHAR *text = wide(one->text, one->length);
		if (text && *text)
			buffer_put(&block, text, ((size_t)lstrlenW(text) + 1) * sizeof *text);
		block.failed = block.failed || !text;
		heap_free(text);
	}
	buffer_put(&block, L"\0", 2 * sizeof(WCHAR));
	if (!block.failed)
		return (WCHAR *)block.bytes;
	buffer_free(&block);
	return NULL;
}

static bool make_output(struct output *output, HANDLE *theirs)
{
	if (!CreatePipe(&output->pipe, theirs, NULL, 0))
		return false;
	inherit(*theirs);
	return true;
}

static struct input *make_input(const struct json *text, struct reply *reply, HANDLE *theirs)
{
	struct input *input = heap_get(sizeof *input);
	if (!input)
		refuse(reply, "out of memory", NULL);
	else if (!buffer_from_base64(&input->bytes, text->text, text->length))
		refuse(reply, "Base64 data of 'input-data' is not valid", NULL);
	else if (input->bytes.failed || !CreatePipe(theirs, &input->pipe, NULL, 0))
		refuse(reply, "out of memory", NULL);
	if (!reply->error.length) {
		inherit(*theirs);
		return input;
	}
	if (input)
		buffer_free(&input->bytes);
	heap_free(input);
	return NULL;
}

struct request {
	const struct json *path, *arg, *env, *input;
	bool capture;
};

/* The program's ends of the pipes, and the nothing it gets instead. */
struct ends {
	HANDLE in, out, err, nothing;
};

static bool create(const struct request *request, struct process *process, const struct ends *ends, struct reply *reply)
{
	const char *error = NULL;
	WCHAR *line = command_line(request->path, request->arg, &error);
	WCHAR *block = request->env ? environment(request->env) : NULL;
	STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
	PROCESS_INFORMATION made = {0};
	start.hStdInput = ends->in ? ends->in : ends->nothing;
	start.hStdOutput = ends->out ? ends->out : ends->nothing;
	start.hStdError = ends->err ? ends->err : ends->nothing;
	if (!line)
		refuse(reply, "Guest agent command failed, error was '", error, "'", NULL);
	else if (request->env && !block)
		refuse(reply, "out of memory", NULL);
	else if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_UNICODE_ENVIRONMENT | CREATE_NO_WINDOW, block, NULL,
				 &start, &made))
		refuse_system(reply, "Failed to execute child process", request->path->text, GetLastError());
	else if (!made.hProcess)
		/* Wine gives no handle of one. */
		refuse(reply, "'", request->path->text, "' is a program of the Linux below: it was started, but nobody can be told how it ends",
		       NULL);
	heap_free(line);
	heap_free(block);
	if (!made.hProcess)
		return false;
	CloseHandle(made.hThread);
	process->handle = made.hProcess;
	process->id = made.dwProcessId;
	return true;
}

static void begin_reading(struct output *output)
{
	if (!output->pipe)
		return;
	output->thread = CreateThread(NULL, 0, read_output, output, 0, NULL);
	if (!output->thread) {
		output->truncated = true;
		drop(&output->pipe);
	}
}

static void begin_writing(struct input *input)
{
	HANDLE thread = input ? CreateThread(NULL, 0, write_input, input, 0, NULL) : NULL;
	if (thread)
		CloseHandle(thread);
	else if (input)
		write_input(input);
}

static void start(const struct request *request, struct process *process, struct reply *reply)
{
	struct ends ends = {0};
	struct input *input = NULL;
	/* The last process in this place had other outputs. */
	ZeroMemory(process, sizeof *process);
	ends.nothing = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
				   OPEN_EXISTING, 0, NULL);
	inherit(ends.nothing);
	if (request->input)
		input = make_input(request->input, reply, &ends.in);
	if (!reply->error.length && request->capture &&
	    !(make_output(&process->out, &ends.out) && make_output(&process->err, &ends.err)))
		refuse(reply, "out of memory", NULL);
	bool created = !reply->error.length && create(request, process, &ends, reply);
	/* Ours must go, or no output would ever end. */
	drop(&ends.in);
	drop(&ends.out);
	drop(&ends.err);
	drop(&ends.nothing);
	if (created) {
		begin_reading(&process->out);
		begin_reading(&process->err);
		buffer_text(&reply->value, "{\"pid\":");
		buffer_number(&reply->value, process->id);
		buffer_text(&reply->value, "}");
	} else {
		drop(&process->out.pipe);
		drop(&process->err.pipe);
	}
	/* The reading end is gone if there is no program: this ends at once. */
	begin_writing(input);
}

void exec_start(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"path", "arg", "env", "input-data", "capture-output", NULL};
	struct request request = {0};
	if (!arguments_known(arguments, reply, names) ||
	    !argument_string(arguments, reply, "path", REQUIRED, &request.path) ||
	    !argument_strings(arguments, reply, "arg", &request.arg) ||
	    !argument_strings(arguments, reply, "env", &request.env) ||
	    !argument_string(arguments, reply, "input-data", IF_GIVEN, &request.input) ||
	    !argument_bool(arguments, reply, "capture-output", &request.capture))
		return;
	struct process *place = NULL;
	for (size_t i = 0; i < MOST_PROCESSES && !place; i++)
		if (!processes[i].handle)
			place = &processes[i];
	if (!place)
		refuse(reply, "too many programs whose guest-exec-status nobody asked for", NULL);
	else if (real_program(request.path, reply))
		start(&request, place, reply);
}

/* --- guest-exec-status ------------------------------------------------------- */

static bool ended(HANDLE handle) { return !handle || WaitForSingleObject(handle, 0) == WAIT_OBJECT_0; }

static void put_output(struct buffer *value, struct output *output, const char *data, const char *truncated)
{
	if (output->bytes.length) {
		buffer_text(value, ",\"");
		buffer_text(value, data);
		buffer_text(value, "\":\"");
		buffer_base64(value, output->bytes.bytes, output->bytes.length);
		buffer_text(value, "\"");
	}
	if (output->truncated) {
		buffer_text(value, ",\"");
		buffer_text(value, truncated);
		buffer_text(value, "\":true");
	}
	buffer_free(&output->bytes);
	drop(&output->thread);
}

void exec_status(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"pid", NULL};
	int64_t id = 0;
	if (!arguments_known(arguments, reply, names) || !argument_integer(arguments, reply, "pid", REQUIRED, &id))
		return;
	struct process *process = NULL;
	for (size_t i = 0; i < MOST_PROCESSES && !process; i++)
		if (processes[i].handle && processes[i].id == id)
			process = &processes[i];
	if (!process) {
		refuse(reply, "Invalid parameter 'pid'", NULL);
		return;
	}
	/* Like qemu-ga: only when the outputs have ended, too, is all of it there. */
	if (!ended(process->handle) || !ended(process->out.thread) || !ended(process->err.thread)) {
		buffer_text(&reply->value, "{\"exited\":false}");
		return;
	}
	DWORD code = 0;
	GetExitCodeProcess(process->handle, &code);
	/* qga/commands.c on Windows: from 0xC0000000 on it is an exception's code, given as the signal;
	 * both are a C int there, so the larger ones are negative. */
	buffer_text(&reply->value, code < 0xC0000000 ? "{\"exited\":true,\"exitcode\":" : "{\"exited\":true,\"signal\":");
	buffer_number(&reply->value, (int32_t)code);
	put_output(&reply->value, &process->out, "out-data", "out-truncated");
	put_output(&reply->value, &process->err, "err-data", "err-truncated");
	buffer_text(&reply->value, "}");
	drop(&process->handle);
}
