/* guest-file-open, -close, -read, -write, -seek and -flush. */
#include "command.h"

enum { MOST_FILES = 128, FIRST_HANDLE = 1000, DEFAULT_COUNT = 4096, LARGEST_COUNT = 48 << 20, PIECE = 8 << 20 };

static struct {
	int64_t number; /* 0: the place is free */
	HANDLE handle;
} files[MOST_FILES];

static int64_t last_number = FIRST_HANDLE - 1;

static const struct {
	const char *mode;
	DWORD access;
	DWORD disposition;
} modes[] = {
	{"r", GENERIC_READ, OPEN_EXISTING},
	{"w", GENERIC_WRITE, CREATE_ALWAYS},
	/* Without FILE_WRITE_DATA every write goes to the end (CreateFile, "File Security and Access Rights"). */
	{"a", FILE_GENERIC_WRITE & ~(DWORD)FILE_WRITE_DATA, OPEN_ALWAYS},
	{"r+", GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING},
	{"w+", GENERIC_READ | GENERIC_WRITE, CREATE_ALWAYS},
	{"a+", FILE_GENERIC_READ | (FILE_GENERIC_WRITE & ~(DWORD)FILE_WRITE_DATA), OPEN_ALWAYS},
};

/* As in C's fopen; a `b` changes nothing. */
static bool find_mode(const struct json *text, DWORD *access, DWORD *disposition)
{
	char plain[3] = "r";
	size_t length = 0;
	for (size_t i = 0; text && i < text->length; i++) {
		if (text->text[i] == 'b' && i > 0)
			continue;
		if (length == 2)
			return false;
		plain[length++] = text->text[i];
	}
	for (size_t i = 0; i < ARRAYSIZE(modes); i++) {
		if (text_is(plain, text ? length : 1, modes[i].mode)) {
			*access = modes[i].access;
			*disposition = modes[i].disposition;
			return true;
		}
	}
	return false;
}

void file_open(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"path", "mode", NULL};
	const struct json *path = NULL, *mode = NULL;
	DWORD access, disposition;
	size_t place = 0;
	if (!arguments_known(arguments, reply, names) || !argument_string(arguments, reply, "path", REQUIRED, &path) ||
	    !argument_string(arguments, reply, "mode", IF_GIVEN, &mode))
		return;
	if (!find_mode(mode, &access, &disposition)) {
		refuse(reply, "invalid file open mode '", mode->text, "'", NULL);
		return;
	}
	while (place < MOST_FILES && files[place].number)
		place++;
	if (place == MOST_FILES) {
		refuse(reply, "too many open files", NULL);
		return;
	}
	WCHAR *name = wide(path->text, path->length);
	HANDLE handle = INVALID_HANDLE_VALUE;
	if (name)
		handle = CreateFileW(name, access, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, disposition,
				     FILE_ATTRIBUTE_NORMAL, NULL);
	DWORD code = name ? GetLastError() : ERROR_NOT_ENOUGH_MEMORY;
	heap_free(name);
	if (handle == INVALID_HANDLE_VALUE) {
		refuse_system(reply, "failed to open file", path->text, code);
		return;
	}
	files[place].number = ++last_number;
	files[place].handle = handle;
	buffer_number(&reply->value, last_number);
}

/* The place of the open file that the argument `handle` names; -1 after a refusal. */
static int find_file(const struct json *arguments, struct reply *reply)
{
	int64_t number = 0;
	if (!argument_integer(arguments, reply, "handle", REQUIRED, &number))
		return -1;
	for (int i = 0; i < MOST_FILES; i++)
		if (number > 0 && files[i].number == number)
			return i;
	refuse(reply, "handle has not been found", NULL);
	return -1;
}

void file_close(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"handle", NULL};
	int place = arguments_known(arguments, reply, names) ? find_file(arguments, reply) : -1;
	if (place < 0)
		return;
	CloseHandle(files[place].handle);
	files[place].number = 0;
}

static void put_count(struct buffer *value, const char *name, int64_t number)
{
	buffer_text(value, "{\"");
	buffer_text(value, name);
	buffer_text(value, "\":");
	buffer_number(value, number);
}

static void put_end(struct buffer *value, bool end) { buffer_text(value, end ? ",\"eof\":true}" : ",\"eof\":false}"); }

void file_read(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"handle", "count", NULL};
	int64_t count = DEFAULT_COUNT;
	int place = arguments_known(arguments, reply, names) ? find_file(arguments, reply) : -1;
	if (place < 0 || !argument_integer(arguments, reply, "count", IF_GIVEN, &count))
		return;
	if (count < 0 || count >= LARGEST_COUNT) {
		refuse(reply, "value for argument 'count' is not from 0 to 48 MiB", NULL);
		return;
	}
	/* Fewer bytes than asked for are no end; a small guest has not the memory for all of them. */
	DWORD length = (DWORD)(count < PIECE ? count : PIECE), done = 0;
	char *bytes = heap_get(length);
	if (!bytes)
		refuse(reply, "out of memory", NULL);
	else if (!ReadFile(files[place].handle, bytes, length, &done, NULL) && GetLastError() != ERROR_HANDLE_EOF)
		refuse_system(reply, "failed to read file", "", GetLastError());
	if (!reply->error.length) {
		put_count(&reply->value, "count", done);
		buffer_text(&reply->value, ",\"buf-b64\":\"");
		buffer_base64(&reply->value, bytes, done);
		buffer_text(&reply->value, "\"");
		put_end(&reply->value, length && !done);
	}
	heap_free(bytes);
}

void file_write(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"handle", "buf-b64", "count", NULL};
	const struct json *text = NULL;
	struct buffer bytes = {0};
	int64_t count = -1;
	int place = arguments_known(arguments, reply, names) ? find_file(arguments, reply) : -1;
	if (place < 0 || !argument_string(arguments, reply, "buf-b64", REQUIRED, &text) ||
	    !argument_integer(arguments, reply, "count", IF_GIVEN, &count))
		return;
	DWORD done = 0;
	if (!buffer_from_base64(&bytes, text->text, text->length))
		refuse(reply, "Base64 data of 'buf-b64' is not valid", NULL);
	else if (bytes.failed)
		refuse(reply, "out of memory", NULL);
	else if (json_member(arguments, "count") && (count < 0 || (uint64_t)count > bytes.length))
		refuse(reply, "value for argument 'count' is not from 0 to the length of 'buf-b64'", NULL);
	else if (!WriteFile(files[place].handle, bytes.bytes, (DWORD)(count < 0 ? (int64_t)bytes.length : count), &done,
			    NULL))
		refuse_system(reply, "failed to write file", "", GetLastError());
	if (!reply->error.length) {
		put_count(&reply->value, "count", done);
		put_end(&reply->value, false);
	}
	buffer_free(&bytes);
}

/* A number or a word: the protocol has both. */
static bool find_whence(const struct json *arguments, DWORD *method)
{
	static const char *const words[] = {"set", "cur", "end"};
	static const DWORD methods[] = {FILE_BEGIN, FILE_CURRENT, FILE_END};
	const struct json *whence = json_member(arguments, "whence");
	for (size_t i = 0; whence && i < ARRAYSIZE(words); i++) {
		if ((whence->kind == JSON_INTEGER && whence->integer == (int64_t)i) ||
		    (whence->kind == JSON_STRING && text_is(whence->text, whence->length, words[i]))) {
			*method = methods[i];
			return true;
		}
	}
	return false;
}

void file_seek(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"handle", "offset", "whence", NULL};
	LARGE_INTEGER offset = {0}, position;
	int64_t number = 0;
	DWORD method;
	int place = arguments_known(arguments, reply, names) ? find_file(arguments, reply) : -1;
	if (place < 0 || !argument_integer(arguments, reply, "offset", REQUIRED, &number))
		return;
	offset.QuadPart = number;
	if (!find_whence(arguments, &method)) {
		refuse(reply, "invalid or missing 'whence'", NULL);
	} else if (!SetFilePointerEx(files[place].handle, offset, &position, method)) {
		refuse_system(reply, "failed to seek file", "", GetLastError());
	} else {
		put_count(&reply->value, "position", position.QuadPart);
		put_end(&reply->value, false);
	}
}

void file_flush(const struct json *arguments, struct reply *reply)
{
	static const char *const names[] = {"handle", NULL};
	int place = arguments_known(arguments, reply, names) ? find_file(arguments, reply) : -1;
	if (place >= 0 && !FlushFileBuffers(files[place].handle))
		refuse_system(reply, "failed to flush file", "", GetLastError());
}
