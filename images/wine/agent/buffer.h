/* Bytes that grow, base64, and the little of C's library that a program without one needs. */
#ifndef BUFFER_H
#define BUFFER_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Once memory or `limit` ran out, `failed` stays set and further bytes are dropped: callers
 * look once, at the end. All zeroes is an empty buffer without a limit. */
struct buffer {
	char *bytes;
	size_t length;
	size_t capacity;
	size_t limit;
	bool failed;
};

void buffer_put(struct buffer *b, const void *bytes, size_t length);
void buffer_text(struct buffer *b, const char *text);
void buffer_number(struct buffer *b, int64_t number);
void buffer_base64(struct buffer *b, const void *bytes, size_t length);
/* False, with nothing said about the content, when `text` is no base64 (RFC 4648, padded). */
bool buffer_from_base64(struct buffer *b, const char *text, size_t length);
/* UTF-8 of a UTF-16 text that ends with 0. */
void buffer_from_wide(struct buffer *b, const WCHAR *text);
/* UTF-16 of UTF-8, from the heap, ends with 0; NULL without memory. */
WCHAR *wide(const char *text, size_t length);
void buffer_free(struct buffer *b);

void *heap_get(size_t size); /* zeroed; NULL without memory */
void heap_free(void *memory);
size_t text_length(const char *text);
bool text_is(const char *text, size_t length, const char *word);

#endif
