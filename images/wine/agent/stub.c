/* Stands in for the programs that Wine only stubs: those end with 0 and do nothing, and whoever
 * asked would believe them. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "marker.h"

__attribute__((used)) static const char marker[] = STUB_MARKER;

void entry(void)
{
	char path[MAX_PATH + sizeof STUB_WORDS + 2];
	DWORD length = GetModuleFileNameA(NULL, path, MAX_PATH), written;
	static const char words[] = STUB_WORDS "\r\n";
	char *name = path;
	if (length >= MAX_PATH)
		length = 0;
	path[length] = 0;
	for (char *at = path; *at; at++)
		if (*at == '\\')
			name = at + 1;
	HANDLE err = GetStdHandle(STD_ERROR_HANDLE);
	lstrcpyA(path + length, words);
	WriteFile(err, name, (DWORD)lstrlenA(name), &written, NULL);
	ExitProcess(STUB_CODE);
}
