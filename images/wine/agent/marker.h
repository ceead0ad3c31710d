/* How a program that only stands in for one of Windows is known. */
#ifndef MARKER_H
#define MARKER_H

#define STUB_WORDS " is only a stub in Wine"
#define STUB_CODE 217

/* In the stand-in's file; the agent looks for it. */
#define STUB_MARKER "bootgate: stands in for a program that Wine does not have"

#endif
