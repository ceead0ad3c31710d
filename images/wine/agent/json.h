/* JSON (RFC 8259), as far as requests and replies of the guest agent's protocol need it. */
#ifndef JSON_H
#define JSON_H

#include "buffer.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_INTEGER, JSON_FRACTION, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_kind kind;
	bool truth;
	int64_t integer;
	/* Of a string; UTF-8, ends with 0, and may hold more of them. */
	const char *text;
	size_t length;
	/* Of an object's member. */
	const char *name;
	size_t name_length;
	/* An array's or an object's first value, and the next one beside this. */
	struct json *first;
	struct json *next;
};

struct json_document {
	struct json *root;
	/* Why there is no root. */
	const char *error;
	/* Owned. */
	struct json *nodes;
	char *texts;
};

/* Reads one value that fills `text`. Nesting and the number of values have bounds. */
void json_read(struct json_document *document, const char *text, size_t length);
void json_free(struct json_document *document);

/* The member of that name, or NULL. */
const struct json *json_member(const struct json *object, const char *name);

void json_put_string(struct buffer *out, const char *text, size_t length);
void json_put(struct buffer *out, const struct json *value);

#endif
