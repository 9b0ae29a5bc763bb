/* A preloaded library that counts the disk operations of a process below one folder, and at the
   n-th of them kills the process or fails as a disk does.  Built and used by tests/support/faults.py.

   cc -shared -fPIC -O1 -o fault_layer.so fault_layer.c -ldl

   A process that is loaded with it does nothing special until fault_arm is called in it; a process
   that it forks is armed too, and one that it executes is not.  Writes to mapped memory pass. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* glibc may define these as macros of the large-file names. */
#undef open
#undef openat
#undef fopen

enum mode { COUNT = 0, KILL = 1, FULL = 2, BROKEN = 3 };
enum kind { OPEN, WRITE, SYNC, RENAME, REMOVE, FOLDER, TRUNCATE, CLOSE };

struct shared {
    long count; /* operations so far */
    long fired; /* how many of them failed */
    char what[64 + PATH_MAX]; /* the first that did */
};

static struct shared *shared;
static int armed, mode;
static long at;
static char root[PATH_MAX];

__attribute__((constructor)) static void prepare(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Begin to count below a folder.  n counts from 1; 0 never comes. */
void fault_arm(const char *folder, int how, long n)
{
    snprintf(root, sizeof root, "%s", folder);
    mode = how;
    at = n;
    armed = 1;
}

void fault_reset(void)
{
    memset(shared, 0, sizeof *shared);
}

long fault_count(void)
{
    return shared->count;
}

long fault_fired(void)
{
    return shared->fired;
}

const char *fault_what(void)
{
    return shared->what;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int below(const char *path)
{
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == '/' || path[n] == 0);
}

static int path_of_fd(int fd, char *out)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, out, PATH_MAX - 1);
    if (n < 0)
        return 0;
    out[n] = 0;
    return 1;
}

static int full_path(int folder, const char *path, char *out)
{
    char base[PATH_MAX];
    if (path[0] == '/')
        return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of_fd(folder, base))
        return 0;
    return snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path) < PATH_MAX;
}

/* Count one operation.  Return 0 to do it, an errno to fail with, or -1 to do half and die. */
static int step(enum kind kind, const char *path)
{
    static const char *const names[] = {"open",   "write",  "sync",     "rename",
                                        "remove", "folder", "truncate", "close"};
    if (!below(path))
        return 0;
    long n = __sync_add_and_fetch(&shared->count, 1);
    int grows = kind == OPEN || kind == WRITE || kind == FOLDER || kind == TRUNCATE;
    int fires = mode == FULL ? n >= at && grows : n == at;
    if (at == 0 || mode == COUNT || !fires)
        return 0;
    if (__sync_fetch_and_add(&shared->fired, 1) == 0)
        snprintf(shared->what, sizeof shared->what, "%s %s", names[kind], path + strlen(root));
    if (mode == KILL) {
        if (kind == WRITE)
            return -1;
        kill(getpid(), SIGKILL);
    }
    return mode == FULL ? ENOSPC : EIO;
}

static int step_fd(enum kind kind, int fd)
{
    char path[PATH_MAX];
    int saved = errno, answer = 0;
    if (armed && path_of_fd(fd, path))
        answer = step(kind, path);
    errno = saved;
    return answer;
}

static int step_path(enum kind kind, int folder, const char *name)
{
    char path[PATH_MAX];
    int saved = errno, answer = 0;
    if (armed && name && full_path(folder, name, path))
        answer = step(kind, path);
    errno = saved;
    return answer;
}

#define FAIL_IF(answer, value) \
    do { \
        int e_ = (answer); \
        if (e_ > 0) { \
            errno = e_; \
            return value; \
        } \
    } while (0)

static int writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list list; \
        va_start(list, flags); \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (writes(flags)) \
            FAIL_IF(step_path(OPEN, AT_FDCWD, path), -1); \
        return real(path, flags, bits); \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list list; \
        va_start(list, flags); \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (writes(flags)) \
            FAIL_IF(step_path(OPEN, folder, path), -1); \
        return real(folder, path, flags, bits); \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

#define STREAM(name) \
    FILE *name(const char *path, const char *how) \
    { \
        REAL(name); \
        if (how[0] != 'r' || strchr(how, '+')) \
            FAIL_IF(step_path(OPEN, AT_FDCWD, path), NULL); \
        return real(path, how); \
    }
STREAM(fopen)
STREAM(fopen64)

ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write);
    int answer = step_fd(WRITE, fd);
    FAIL_IF(answer, -1);
    if (answer < 0) {
        real(fd, data, n / 2);
        kill(getpid(), SIGKILL);
    }
    return real(fd, data, n);
}

#define PWRITE(name, offset_t) \
    ssize_t name(int fd, const void *data, size_t n, offset_t offset) \
    { \
        REAL(name); \
        int answer = step_fd(WRITE, fd); \
        FAIL_IF(answer, -1); \
        if (answer < 0) { \
            real(fd, data, n / 2, offset); \
            kill(getpid(), SIGKILL); \
        } \
        return real(fd, data, n, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    REAL(writev);
    int answer = step_fd(WRITE, fd);
    FAIL_IF(answer, -1);
    if (answer < 0) {
        real(fd, parts, n / 2);
        kill(getpid(), SIGKILL);
    }
    return real(fd, parts, n);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *stream)
{
    REAL(fwrite);
    int answer = step_fd(WRITE, fileno(stream));
    FAIL_IF(answer, 0);
    if (answer < 0) {
        real(data, size, n / 2, stream);
        fflush(stream);
        kill(getpid(), SIGKILL);
    }
    return real(data, size, n, stream);
}

int fclose(FILE *stream)
{
    REAL(fclose);
    int fd = fileno(stream);
    int flags = armed ? fcntl(fd, F_GETFL) : O_RDONLY;
    int answer = flags >= 0 && writes(flags) ? step_fd(CLOSE, fd) : 0;
    if (answer > 0) {
        real(stream);
        errno = answer;
        return EOF;
    }
    return real(stream);
}

#define ON_FD(result, name, kind, ...) \
    result name(int fd __VA_OPT__(, __VA_ARGS__ more)) \
    { \
        REAL(name); \
        FAIL_IF(step_fd(kind, fd), -1); \
        return real(fd __VA_OPT__(, more)); \
    }
ON_FD(int, fsync, SYNC)
ON_FD(int, fdatasync, SYNC)
ON_FD(int, ftruncate, TRUNCATE, off_t)
ON_FD(int, ftruncate64, TRUNCATE, off64_t)

int rename(const char *from, const char *to)
{
    REAL(rename);
    FAIL_IF(step_path(RENAME, AT_FDCWD, to), -1);
    return real(from, to);
}

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(renameat);
    FAIL_IF(step_path(RENAME, b, to), -1);
    return real(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    REAL(renameat2);
    FAIL_IF(step_path(RENAME, b, to), -1);
    return real(a, from, b, to, flags);
}

int unlink(const char *path)
{
    REAL(unlink);
    FAIL_IF(step_path(REMOVE, AT_FDCWD, path), -1);
    return real(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    FAIL_IF(step_path(REMOVE, folder, path), -1);
    return real(folder, path, flags);
}

int rmdir(const char *path)
{
    REAL(rmdir);
    FAIL_IF(step_path(REMOVE, AT_FDCWD, path), -1);
    return real(path);
}

int mkdir(const char *path, mode_t bits)
{
    REAL(mkdir);
    FAIL_IF(step_path(FOLDER, AT_FDCWD, path), -1);
    return real(path, bits);
}

int mkdirat(int folder, const char *path, mode_t bits)
{
    REAL(mkdirat);
    FAIL_IF(step_path(FOLDER, folder, path), -1);
    return real(folder, path, bits);
}
