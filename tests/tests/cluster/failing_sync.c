/*
 * Preloaded into a node: fsync and fdatasync fail with EIO while the file named by FAILING_SYNC is
 * there. Sees calls through the C library only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int call(const char *name, int fd)
{
    const char *path = getenv("FAILING_SYNC");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

    if (path && access(path, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return call("fsync", fd); }
int fdatasync(int fd) { return call("fdatasync", fd); }
