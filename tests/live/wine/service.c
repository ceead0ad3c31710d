/* A service for the tests of packages. `service.exe NAME`: runs as that service. `service.exe NAME panic`: makes the
 * kernel below Wine panic as soon as it starts. Anything else is an installer that is a program: `service.exe exit CODE
 * FILE` writes FILE and ends with CODE. */
#include <windows.h>
#include <stdlib.h>
#include <string.h>

static SERVICE_STATUS_HANDLE handle;
static HANDLE stopped;
static int panics;

static void tell(DWORD state)
{
	SERVICE_STATUS status = {SERVICE_WIN32_OWN_PROCESS, state, 0, NO_ERROR, 0, 0, 0};
	if (state == SERVICE_RUNNING)
		status.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN;
	SetServiceStatus(handle, &status);
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context)
{
	(void)type, (void)data, (void)context;
	if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN)
		SetEvent(stopped);
	return NO_ERROR;
}

static void write_file(const char *path, const char *text)
{
	DWORD written;
	HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, 0, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return;
	WriteFile(file, text, (DWORD)strlen(text), &written, NULL);
	CloseHandle(file);
}

static void WINAPI serve(DWORD count, char **words)
{
	(void)count;
	stopped = CreateEventA(NULL, TRUE, FALSE, NULL);
	handle = RegisterServiceCtrlHandlerExA(words[0], control, NULL);
	tell(SERVICE_RUNNING);
	if (panics)
		write_file("Z:\\proc\\sysrq-trigger", "c");
	WaitForSingleObject(stopped, INFINITE);
	tell(SERVICE_STOPPED);
}

int main(int count, char **words)
{
	if (count == 4 && !strcmp(words[1], "exit")) {
		write_file(words[3], "installed\r\n");
		return (int)strtol(words[2], NULL, 0);
	}
	if (count < 2)
		return 87; /* ERROR_INVALID_PARAMETER */
	panics = count > 2 && !strcmp(words[2], "panic");
	SERVICE_TABLE_ENTRYA services[] = {{words[1], serve}, {NULL, NULL}};
	return StartServiceCtrlDispatcherA(services) ? 0 : (int)GetLastError();
}
