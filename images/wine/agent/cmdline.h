/* Command lines for CreateProcess. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include "json.h"

/* The program's path and its arguments as one text, UTF-16 from the heap, ends with 0.
 * NULL, and `error` says why: memory, or longer than CreateProcess allows. */
WCHAR *command_line(const struct json *path, const struct json *arguments, const char **error);

#endif
