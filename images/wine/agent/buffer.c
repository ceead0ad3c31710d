#include "buffer.h"

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void *heap_get(size_t size) { return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, size ? size : 1); }

void heap_free(void *memory)
{
	if (memory)
		HeapFree(GetProcessHeap(), 0, memory);
}

size_t text_length(const char *text)
{
	size_t length = 0;
	while (text[length])
		length++;
	return length;
}

bool text_is(const char *text, size_t length, const char *word)
{
	if (length != text_length(word))
		return false;
	for (size_t i = 0; i < length; i++)
		if (text[i] != word[i])
			return false;
	return true;
}

static bool reserve(struct buffer *b, size_t more)
{
	if (b->failed)
		return false;
	if ((b->limit && more > b->limit - b->length) || more > SIZE_MAX / 4) {
		b->failed = true;
		return false;
	}
	if (more <= b->capacity - b->length)
		return true;
	size_t capacity = b->capacity ? b->capacity : 256;
	while (capacity - b->length < more)
		capacity *= 2;
	char *bytes = b->bytes ? HeapReAlloc(GetProcessHeap(), 0, b->bytes, capacity)
			       : HeapAlloc(GetProcessHeap(), 0, capacity);
	if (!bytes) {
		b->failed = true;
		return false;
	}
	b->bytes = bytes;
	b->capacity = capacity;
	return true;
}

void buffer_put(struct buffer *b, const void *bytes, size_t length)
{
	if (!length || !reserve(b, length))
		return;
	CopyMemory(b->bytes + b->length, bytes, length);
	b->length += length;
}

void buffer_text(struct buffer *b, const char *text) { buffer_put(b, text, text_length(text)); }

void buffer_number(struct buffer *b, int64_t number)
{
	char digits[24];
	size_t at = sizeof digits;
	uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
	do
		digits[--at] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (number < 0)
		digits[--at] = '-';
	buffer_put(b, digits + at, sizeof digits - at);
}

void buffer_base64(struct buffer *b, const void *bytes, size_t length)
{
	const unsigned char *in = bytes;
	if (!reserve(b, length / 3 * 4 + 4))
		return;
	char *out = b->bytes + b->length;
	size_t i = 0;
	for (; i + 2 < length; i += 3) {
		uint32_t three = (uint32_t)in[i] << 16 | in[i + 1] << 8 | in[i + 2];
		*out++ = digits64[three >> 18];
		*out++ = digits64[three >> 12 & 63];
		*out++ = digits64[three >> 6 & 63];
		*out++ = digits64[three & 63];
	}
	if (i < length) {
		uint32_t rest = (uint32_t)in[i] << 16 | (i + 1 < length ? in[i + 1] << 8 : 0);
		*out++ = digits64[rest >> 18];
		*out++ = digits64[rest >> 12 & 63];
		*out++ = i + 1 < length ? digits64[rest >> 6 & 63] : '=';
		*out++ = '=';
	}
	b->length = (size_t)(out - b->bytes);
}

static int value64(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool buffer_from_base64(struct buffer *b, const char *text, size_t length)
{
	if (length % 4)
		return false;
	if (length && !reserve(b, length / 4 * 3))
		return true; /* memory, not base64: the caller sees `failed` */
	for (size_t i = 0; i < length; i += 4) {
		bool last = i + 4 == length;
		int padding = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
		uint32_t bits = 0;
		for (int k = 0; k < 4; k++) {
			int value = k >= 4 - padding ? 0 : value64(text[i + k]);
			if (value < 0)
				return false;
			bits = bits << 6 | (uint32_t)value;
		}
		char three[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
		buffer_put(b, three, (size_t)(3 - padding));
	}
	return true;
}

void buffer_from_wide(struct buffer *b, const WCHAR *text)
{
	int length = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
	if (length <= 1 || !reserve(b, (size_t)length))
		return;
	WideCharToMultiByte(CP_UTF8, 0, text, -1, b->bytes + b->length, length, NULL, NULL);
	b->length += (size_t)length - 1;
}

WCHAR *wide(const char *text, size_t length)
{
	int count = length ? MultiByteToWideChar(CP_UTF8, 0, text, (int)length, NULL, 0) : 0;
	WCHAR *copy = heap_get(((size_t)count + 1) * sizeof *copy);
	if (copy && count)
		MultiByteToWideChar(CP_UTF8, 0, text, (int)length, copy, count);
	return copy;
}

void buffer_free(struct buffer *b)
{
	heap_free(b->bytes);
	ZeroMemory(b, sizeof *b);
}

/* The compiler calls these by itself; `rep` keeps it from making a call of itself of them. */
void *memcpy(void *to, const void *from, size_t length)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
	return start;
}

void *memset(void *to, int value, size_t length)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
	return start;
}
