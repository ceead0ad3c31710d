#include "channel.h"

HANDLE channel_open(const WCHAR *path)
{
	for (;;) {
		HANDLE port = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
					  OPEN_EXISTING, 0, NULL);
		if (port != INVALID_HANDLE_VALUE)
			return port;
		Sleep(100);
	}
}

DWORD channel_read(HANDLE port, char *bytes, DWORD room)
{
	enum { IDLE = 50 };
	DWORD length;
	for (;;) {
		if (ReadFile(port, bytes, room, &length, NULL)) {
			if (length)
				return length;
		} else if (GetLastError() == ERROR_FILE_NOT_FOUND || GetLastError() == ERROR_INVALID_HANDLE) {
			return 0;
		}
		/* While nobody on the host has the channel open, Linux's driver reads an end at once. */
		Sleep(IDLE);
	}
}

bool channel_write(HANDLE port, const char *bytes, size_t length)
{
	while (length) {
		DWORD piece = (DWORD)(length < 65536 ? length : 65536), written;
		if (!WriteFile(port, bytes, piece, &written, NULL))
			return false;
		bytes += written;
		length -= written;
	}
	return true;
}

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

enum cut cutter_take(struct cutter *c, char byte)
{
	bool started = c->text.length > 0;
	if ((unsigned char)byte == 0xFF) {
		/* QEMU, guest-sync-delimited: a client sends it to end whatever a client before it left
		 * unfinished. It can be no part of JSON. */
		bool unfinished = started && !c->skipping;
		cutter_next(c);
		return unfinished ? CUT_BROKEN : CUT_MORE;
	}
	if (c->skipping) {
		if (byte == '\n')
			cutter_next(c);
		return CUT_MORE;
	}
	if (!started && blank(byte))
		return CUT_MORE;
	c->text.limit = REQUEST_LIMIT;
	buffer_put(&c->text, &byte, 1);
	if (c->text.failed) {
		c->skipping = true;
		return CUT_TOO_LONG;
	}
	if (!started && byte != '{' && byte != '[') {
		c->skipping = true;
		return CUT_BROKEN;
	}
	if (c->in_string) {
		c->in_string = c->after_backslash || byte != '"';
		c->after_backslash = byte == '\\' && !c->after_backslash;
	} else if (byte == '"') {
		c->in_string = true;
	} else if (byte == '{' || byte == '[') {
		c->depth++;
	} else if (byte == '}' || byte == ']') {
		c->depth--;
	}
	return c->depth ? CUT_MORE : CUT_REQUEST;
}

void cutter_next(struct cutter *c)
{
	bool skipping = c->skipping && c->text.length;
	buffer_free(&c->text);
	ZeroMemory(c, sizeof *c);
	c->skipping = skipping;
}
