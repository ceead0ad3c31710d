#include "cmdline.h"

/* CreateProcessW: "The maximum length of this string is 32,767 characters, including the
 * Unicode terminating null character." */
enum { LONGEST = 32767 };

static void put_backslashes(struct buffer *b, size_t count)
{
	while (count--)
		buffer_put(b, "\\", 1);
}

/* Microsoft C/C++, "Parsing C command-line arguments": a run of backslashes stands for itself
 * unless a quote follows it; then two stand for one, and an odd one for a quote that is meant. */
static void put_argument(struct buffer *b, const char *text, size_t length)
{
	bool plain = length > 0;
	for (size_t i = 0; i < length; i++)
		plain = plain && text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\v' && text[i] != '"';
	if (plain) {
		buffer_put(b, text, length);
		return;
	}
	size_t backslashes = 0;
	buffer_put(b, "\"", 1);
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '\\') {
			backslashes++;
			continue;
		}
		put_backslashes(b, text[i] == '"' ? 2 * backslashes + 1 : backslashes);
		buffer_put(b, &text[i], 1);
		backslashes = 0;
	}
	put_backslashes(b, 2 * backslashes);
	buffer_put(b, "\"", 1);
}

/* The program's name is read by simpler rules: up to the next quote, backslashes mean nothing. */
static void put_program(struct buffer *b, const struct json *path)
{
	buffer_put(b, "\"", 1);
	buffer_put(b, path->text, path->length);
	buffer_put(b, "\"", 1);
}

WCHAR *command_line(const struct json *path, const struct json *arguments, const char **error)
{
	struct buffer line = {0};
	for (size_t i = 0; i < path->length; i++) {
		if (path->text[i] == '"') {
			*error = "a quote in a program's path";
			return NULL;
		}
	}
	put_program(&line, path);
	for (const struct json *one = arguments ? arguments->first : NULL; one; one = one->next) {
		buffer_put(&line, " ", 1);
		put_argument(&line, one->text, one->length);
	}
	WCHAR *text = line.failed ? NULL : wide(line.bytes, line.length);
	buffer_free(&line);
	*error = "out of memory";
	if (text && lstrlenW(text) >= LONGEST) {
		*error = "the command line has more than 32766 characters";
		heap_free(text);
		return NULL;
	}
	return text;
}
