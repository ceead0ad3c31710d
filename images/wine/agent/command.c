#include "command.h"

#include <stdarg.h>

void refuse(struct reply *reply, const char *text, ...)
{
	va_list more;
	if (reply->error.length)
		return;
	va_start(more, text);
	for (; text; text = va_arg(more, const char *))
		buffer_text(&reply->error, text);
	va_end(more);
}

void refuse_system(struct reply *reply, const char *what, const char *name, DWORD code)
{
	WCHAR words[512];
	struct buffer number = {0}, said = {0};
	DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, words,
				      ARRAYSIZE(words), NULL);
	while (length && words[length - 1] <= ' ')
		length--;
	words[length] = 0;
	buffer_from_wide(&said, words);
	buffer_put(&said, "", 1);
	buffer_number(&number, code);
	buffer_put(&number, "", 1);
	if (said.failed || number.failed)
		refuse(reply, what, ": out of memory", NULL);
	else
		refuse(reply, what, " '", name, "': ", said.bytes, " (", number.bytes, ")", NULL);
	buffer_free(&number);
	buffer_free(&said);
}

static const struct json *of_kind(const struct json *arguments, struct reply *reply, const char *name,
				  enum presence presence, enum json_kind kind, const char *kind_name)
{
	const struct json *value = json_member(arguments, name);
	if (!value) {
		if (presence == REQUIRED)
			refuse(reply, "Parameter '", name, "' is missing", NULL);
		return NULL;
	}
	if (value->kind == kind)
		return value;
	refuse(reply, "Invalid parameter type for '", name, "', expected: ", kind_name, NULL);
	return NULL;
}

bool argument_integer(const struct json *arguments, struct reply *reply, const char *name, enum presence presence,
		      int64_t *value)
{
	const struct json *found = of_kind(arguments, reply, name, presence, JSON_INTEGER, "integer");
	if (found)
		*value = found->integer;
	return !reply->error.length;
}

bool argument_bool(const struct json *arguments, struct reply *reply, const char *name, bool *value)
{
	const struct json *found = of_kind(arguments, reply, name, IF_GIVEN, JSON_BOOL, "boolean");
	if (found)
		*value = found->truth;
	return !reply->error.length;
}

static bool has_zero(const struct json *string)
{
	return text_length(string->text) != string->length;
}

bool argument_string(const struct json *arguments, struct reply *reply, const char *name, enum presence presence,
		     const struct json **value)
{
	const struct json *found = of_kind(arguments, reply, name, presence, JSON_STRING, "string");
	if (found && has_zero(found))
		refuse(reply, "Parameter '", name, "' holds a zero character", NULL);
	else if (found)
		*value = found;
	return !reply->error.length;
}

bool argument_strings(const struct json *arguments, struct reply *reply, const char *name, const struct json **value)
{
	const struct json *found = of_kind(arguments, reply, name, IF_GIVEN, JSON_ARRAY, "array");
	for (const struct json *one = found ? found->first : NULL; one; one = one->next) {
		if (one->kind != JSON_STRING)
			refuse(reply, "Invalid parameter type for '", name, "', expected: strings", NULL);
		else if (has_zero(one))
			refuse(reply, "Parameter '", name, "' holds a zero character", NULL);
	}
	if (found)
		*value = found;
	return !reply->error.length;
}

bool arguments_known(const struct json *arguments, struct reply *reply, const char *const *names)
{
	for (const struct json *one = arguments ? arguments->first : NULL; one; one = one->next) {
		size_t i = 0;
		while (names[i] && !text_is(one->name, one->name_length, names[i]))
			i++;
		if (!names[i]) {
			refuse(reply, "Parameter '", one->name, "' is unexpected", NULL);
			return false;
		}
	}
	return true;
}

const char *wine_version(void)
{
	/* Wine exports it from its ntdll.dll; Windows has no such function. */
	union {
		FARPROC found;
		const char *(CDECL * version)(void);
	} wine = {GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version")};
	return wine.found ? wine.version() : "unknown";
}
