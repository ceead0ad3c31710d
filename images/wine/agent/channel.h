/* The channel to the host, and where one request ends and the next begins. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "buffer.h"

/* Waits for the port to be there. */
HANDLE channel_open(const WCHAR *path);
/* Waits for some bytes, however long it takes. Zero: the port is gone. */
DWORD channel_read(HANDLE port, char *bytes, DWORD room);
bool channel_write(HANDLE port, const char *bytes, size_t length);

enum { REQUEST_LIMIT = 16 << 20 };

/* Cuts a stream of JSON values into values. All zeroes is the start. */
struct cutter {
	struct buffer text;
	int depth;
	bool in_string;
	bool after_backslash;
	/* Until the next line or 0xFF: what was there was no request. */
	bool skipping;
};

enum cut {
	CUT_MORE,     /* nothing yet */
	CUT_REQUEST,  /* `text` holds one value */
	CUT_BROKEN,   /* what stood there is no JSON value or was left unfinished */
	CUT_TOO_LONG, /* more than REQUEST_LIMIT, or than memory */
};

/* Takes one byte. After anything but CUT_MORE, `cutter_next` before the next one. */
enum cut cutter_take(struct cutter *cutter, char byte);
void cutter_next(struct cutter *cutter);

#endif
