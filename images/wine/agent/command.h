/* What every command has: its arguments, its reply. */
#ifndef COMMAND_H
#define COMMAND_H

#include "json.h"

struct reply {
	/* The value after "return". Empty is the empty object. */
	struct buffer value;
	/* Why there is no value. */
	struct buffer error;
	const char *error_class;
	/* Success has no reply (guest-shutdown). */
	bool silent;
	/* The reply has the byte 0xFF before it (guest-sync-delimited). */
	bool delimited;
};

/* The largest value, and so the largest pieces of files and outputs, in bytes. */
enum { REPLY_LIMIT = 48 << 20 };

typedef void command(const struct json *arguments, struct reply *reply);

command exec_start, exec_status;
command file_open, file_close, file_read, file_write, file_seek, file_flush;
command system_osinfo, system_host_name, system_get_time, system_set_time, system_shutdown;

/* The last call ends with a NULL: the texts make one. */
void refuse(struct reply *reply, const char *text, ...);
/* With the words of the system's error code, like "what 'name': The system cannot ... (2)". */
void refuse_system(struct reply *reply, const char *what, const char *name, DWORD code);

/* Arguments by name and type. Each is false after a refusal; a missing one is refused only when
 * it is required, and leaves the value alone. */
enum presence { IF_GIVEN, REQUIRED };
bool argument_integer(const struct json *arguments, struct reply *reply, const char *name, enum presence presence,
		      int64_t *value);
bool argument_bool(const struct json *arguments, struct reply *reply, const char *name, bool *value);
bool argument_string(const struct json *arguments, struct reply *reply, const char *name, enum presence presence,
		     const struct json **value);
/* An array of strings that hold no 0. */
bool argument_strings(const struct json *arguments, struct reply *reply, const char *name, const struct json **value);
/* True when no argument has another name. `names` ends with NULL. */
bool arguments_known(const struct json *arguments, struct reply *reply, const char *const *names);

/* The program that runs this is Wine's: its version, or "unknown". */
const char *wine_version(void);

#endif
