#include "json.h"

/* A guest has 256 MiB; a request of brackets alone must not take them all. */
enum { MAX_VALUES = 65536, MAX_DEPTH = 64 };

struct reader {
	const char *at;
	const char *end;
	const char *error;
	struct json *nodes;
	size_t used;
	size_t room;
	char *text; /* where the next string's bytes go */
};

static bool fail(struct reader *r, const char *error)
{
	if (!r->error)
		r->error = error;
	return false;
}

static void skip_blanks(struct reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static bool take(struct reader *r, char c)
{
	skip_blanks(r);
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits; -1 if they are not there. */
static int32_t read_unit(struct reader *r)
{
	int32_t unit = 0;
	if (r->end - r->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex(r->at[i]);
		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	r->at += 4;
	return unit;
}

static void put_utf8(struct reader *r, uint32_t c)
{
	if (c < 0x80) {
		*r->text++ = (char)c;
	} else if (c < 0x800) {
		*r->text++ = (char)(0xC0 | c >> 6);
		*r->text++ = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		*r->text++ = (char)(0xE0 | c >> 12);
		*r->text++ = (char)(0x80 | (c >> 6 & 63));
		*r->text++ = (char)(0x80 | (c & 63));
	} else {
		*r->text++ = (char)(0xF0 | c >> 18);
		*r->text++ = (char)(0x80 | (c >> 12 & 63));
		*r->text++ = (char)(0x80 | (c >> 6 & 63));
		*r->text++ = (char)(0x80 | (c & 63));
	}
}

/* After \u. A half of a surrogate pair alone becomes U+FFFD. */
static bool read_escaped_unit(struct reader *r)
{
	int32_t unit = read_unit(r);
	if (unit < 0)
		return fail(r, "a bad \\u escape in a string");
	if (unit >= 0xD800 && unit < 0xDC00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
		const char *back = r->at;
		r->at += 2;
		int32_t low = read_unit(r);
		if (low >= 0xDC00 && low < 0xE000) {
			put_utf8(r, 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
			return true;
		}
		r->at = back;
	}
	put_utf8(r, unit >= 0xD800 && unit < 0xE000 ? 0xFFFD : (uint32_t)unit);
	return true;
}

/* After the opening quote. What is written is never longer than what was read (an escape of six
 * characters gives three bytes at most), so `text` has room for it. */
static bool read_string(struct reader *r, const char **text, size_t *length)
{
	char *start = r->text;
	while (r->at < r->end && *r->at != '"') {
		unsigned char c = (unsigned char)*r->at++;
		if (c < 0x20)
			return fail(r, "a control character in a string");
		if (c != '\\') {
			*r->text++ = (char)c;
			continue;
		}
		if (r->at == r->end)
			break;
		switch (c = (unsigned char)*r->at++) {
		case '"': case '\\': case '/': *r->text++ = (char)c; break;
		case 'b': *r->text++ = '\b'; break;
		case 'f': *r->text++ = '\f'; break;
		case 'n': *r->text++ = '\n'; break;
		case 'r': *r->text++ = '\r'; break;
		case 't': *r->text++ = '\t'; break;
		case 'u':
			if (!read_escaped_unit(r))
				return false;
			break;
		default: return fail(r, "an unknown escape in a string");
		}
	}
	if (r->at == r->end)
		return fail(r, "a string without an end");
	r->at++; /* the quote's place holds the 0 */
	*text = start;
	*length = (size_t)(r->text - start);
	*r->text++ = 0;
	return true;
}

static bool digit(const struct reader *r) { return r->at < r->end && *r->at >= '0' && *r->at <= '9'; }

static bool skip_digits(struct reader *r)
{
	if (!digit(r))
		return fail(r, "a number without digits");
	while (digit(r))
		r->at++;
	return true;
}

static bool read_number(struct reader *r, struct json *value)
{
	const char *start = r->at;
	bool negative = *r->at == '-';
	uint64_t number = 0, bound = negative ? (uint64_t)1 << 63 : INT64_MAX;
	bool fits = true;
	if (negative)
		r->at++;
	const char *digits = r->at;
	if (!skip_digits(r))
		return false;
	if (*digits == '0' && r->at - digits > 1)
		return fail(r, "a number with a zero before it");
	for (const char *d = digits; d < r->at && fits; d++) {
		uint64_t next = (uint64_t)(*d - '0');
		fits = number <= (bound - next) / 10;
		number = number * 10 + next;
	}
	value->kind = JSON_INTEGER;
	if (r->at < r->end && *r->at == '.') {
		value->kind = JSON_FRACTION;
		r->at++;
		if (!skip_digits(r))
			return false;
	}
	if (r->at < r->end && (*r->at | 0x20) == 'e') {
		value->kind = JSON_FRACTION;
		r->at++;
		if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
			r->at++;
		if (!skip_digits(r))
			return false;
	}
	if (!fits)
		value->kind = JSON_FRACTION;
	value->integer = (int64_t)(negative ? 0 - number : number);
	/* Kept as written: only an `id` is ever given back. */
	value->text = start;
	value->length = (size_t)(r->at - start);
	return true;
}

static bool read_word(struct reader *r, struct json *value, const char *word, enum json_kind kind, bool truth)
{
	size_t length = text_length(word);
	if ((size_t)(r->end - r->at) < length || !text_is(r->at, length, word))
		return fail(r, "an unknown word");
	r->at += length;
	value->kind = kind;
	value->truth = truth;
	return true;
}

static struct json *read_value(struct reader *r, int depth);

static bool read_members(struct reader *r, struct json *parent, int depth)
{
	bool object = parent->kind == JSON_OBJECT;
	char close = object ? '}' : ']';
	struct json **link = &parent->first;
	if (take(r, close))
		return true;
	do {
		const char *name = NULL;
		size_t name_length = 0;
		if (object) {
			if (!take(r, '"'))
				return fail(r, "a member without a name");
			if (!read_string(r, &name, &name_length))
				return false;
			if (!take(r, ':'))
				return fail(r, "a member without a colon");
		}
		struct json *value = read_value(r, depth + 1);
		if (!value)
			return false;
		value->name = name;
		value->name_length = name_length;
		*link = value;
		link = &value->next;
	} while (take(r, ','));
	return take(r, close) || fail(r, "an array or object without an end");
}

static struct json *read_value(struct reader *r, int depth)
{
	skip_blanks(r);
	if (depth > MAX_DEPTH)
		fail(r, "nested too deep");
	else if (r->used == r->room)
		fail(r, "too many values");
	else if (r->at == r->end)
		fail(r, "a value is missing");
	if (r->error)
		return NULL;
	struct json *value = &r->nodes[r->used++];
	bool good;
	switch (*r->at) {
	case '{':
	case '[':
		value->kind = *r->at++ == '{' ? JSON_OBJECT : JSON_ARRAY;
		good = read_members(r, value, depth);
		break;
	case '"':
		r->at++;
		value->kind = JSON_STRING;
		good = read_string(r, &value->text, &value->length);
		break;
	case 't': good = read_word(r, value, "true", JSON_BOOL, true); break;
	case 'f': good = read_word(r, value, "false", JSON_BOOL, false); break;
	case 'n': good = read_word(r, value, "null", JSON_NULL, false); break;
	default:
		good = *r->at == '-' || digit(r) ? read_number(r, value) : fail(r, "an unknown word");
	}
	return good ? value : NULL;
}

void json_read(struct json_document *document, const char *text, size_t length)
{
	/* Two characters a value at least: as many nodes as there can be, and no more than allowed. */
	size_t room = length / 2 + 1 < MAX_VALUES ? length / 2 + 1 : MAX_VALUES;
	struct reader r = {.at = text, .end = text + length, .room = room};
	ZeroMemory(document, sizeof *document);
	r.nodes = document->nodes = heap_get(room * sizeof *r.nodes);
	r.text = document->texts = heap_get(length + 1);
	if (!r.nodes || !r.text) {
		document->error = "out of memory";
		return;
	}
	struct json *root = read_value(&r, 0);
	skip_blanks(&r);
	if (root && r.at != r.end)
		fail(&r, "something after the value");
	document->error = r.error;
	document->root = r.error ? NULL : root;
}

void json_free(struct json_document *document)
{
	heap_free(document->nodes);
	heap_free(document->texts);
	ZeroMemory(document, sizeof *document);
}

const struct json *json_member(const struct json *object, const char *name)
{
	if (!object || object->kind != JSON_OBJECT)
		return NULL;
	for (const struct json *member = object->first; member; member = member->next)
		if (text_is(member->name, member->name_length, name))
			return member;
	return NULL;
}

/* The length of the UTF-8 sequence at `text`, 0 if it is none (RFC 3629). */
static size_t sequence(const char *text, size_t length)
{
	const unsigned char *c = (const unsigned char *)text;
	size_t want = c[0] < 0x80 ? 1 : c[0] < 0xC2 ? 0 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : c[0] < 0xF5 ? 4 : 0;
	if (want > length)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((c[i] & 0xC0) != 0x80)
			return 0;
	if (want > 2) {
		uint32_t start = (uint32_t)c[0] << 8 | c[1];
		bool long_form = start < 0xE0A0 || (want == 4 && start < 0xF090);
		bool surrogate = start >= 0xEDA0 && start <= 0xEDBF;
		if (long_form || surrogate || start >= 0xF490)
			return 0;
	}
	return want;
}

void json_put_string(struct buffer *out, const char *text, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	buffer_put(out, "\"", 1);
	for (size_t i = 0, step; i < length; i += step) {
		unsigned char c = (unsigned char)text[i];
		char escaped[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
		char pair[2] = {'\\', (char)c};
		step = sequence(text + i, length - i);
		if (!step) {
			/* Bytes from a request come back in error texts: what is no UTF-8 must not. */
			buffer_put(out, "\\ufffd", 6);
			step = 1;
		} else if (c == '"' || c == '\\') {
			buffer_put(out, pair, 2);
		} else if (c < 0x20 || c == 0x7F) {
			buffer_put(out, escaped, 6);
		} else {
			buffer_put(out, text + i, step);
		}
	}
	buffer_put(out, "\"", 1);
}

void json_put(struct buffer *out, const struct json *value)
{
	bool object = value->kind == JSON_OBJECT;
	switch (value->kind) {
	case JSON_NULL: buffer_text(out, "null"); break;
	case JSON_BOOL: buffer_text(out, value->truth ? "true" : "false"); break;
	case JSON_INTEGER:
	case JSON_FRACTION: buffer_put(out, value->text, value->length); break;
	case JSON_STRING: json_put_string(out, value->text, value->length); break;
	case JSON_ARRAY:
	case JSON_OBJECT:
		buffer_put(out, object ? "{" : "[", 1);
		for (const struct json *member = value->first; member; member = member->next) {
			if (object) {
				json_put_string(out, member->name, member->name_length);
				buffer_put(out, ":", 1);
			}
			json_put(out, member);
			if (member->next)
				buffer_put(out, ",", 1);
		}
		buffer_put(out, object ? "}" : "]", 1);
	}
}
