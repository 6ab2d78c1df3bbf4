/* A disk that keeps only what was synchronised: preloaded into a program, it copies each file of one folder into a shadow
 * folder whenever the program calls fsync or fdatasync on it. When the program is killed, the shadow is what a power cut would
 * have left at the very least.
 *
 *   POWERCUT_DISK     the folder; only files directly in it are kept
 *   POWERCUT_SHADOW   where: one file per inode number, and "names" with one "inode name" per line
 *   POWERCUT_LIES     from this call on the disk says yes and keeps nothing; without it, it never lies
 *   POWERCUT_DIES     at this call the power is cut: the program is killed and nothing is kept of it
 *
 * A name becomes durable when the folder is synchronised, and content when its file is. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

/* A disk that cannot be simulated must not look like one that is safe. */
static void fail(const char *what) {
    fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static void path_in(const char *folder, const char *name, char *out) {
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        fail(name);
    }
}

static void write_all(int to, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(to, bytes, count);
        if (written < 0) fail("write");
        bytes += written;
        count -= (size_t)written;
    }
}

static void publish(const char *shadow, const char *temporary, const char *name) {
    char target[PATH_MAX];
    path_in(shadow, name, target);
    if (rename(temporary, target) != 0) fail("rename");
}

static void keep_file(int fd, const char *shadow, ino_t inode) {
    static char bytes[1 << 16];
    char temporary[PATH_MAX], name[32], self[32];
    int from = fd;
    path_in(shadow, ".file", temporary);
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0) fail(temporary);
    /* Read through the program's own descriptor: closing another one of the same file would give back the locks that the
     * program holds on it. A descriptor that only writes belongs to a file without locks. */
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        from = open(self, O_RDONLY);
        if (from < 0) fail(self);
    }
    off_t at = 0;
    for (;;) {
        ssize_t count = pread(from, bytes, sizeof bytes, at);
        if (count < 0) fail("pread");
        if (count == 0) break;
        write_all(to, bytes, (size_t)count);
        at += count;
    }
    if (from != fd) close(from);
    close(to);
    snprintf(name, sizeof name, "%llu", (unsigned long long)inode);
    publish(shadow, temporary, name);
}

static void keep_names(const char *disk, const char *shadow) {
    char temporary[PATH_MAX], line[PATH_MAX];
    path_in(shadow, ".names", temporary);
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    DIR *folder = opendir(disk);
    if (to < 0 || folder == NULL) fail(disk);
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_type != DT_REG) continue;
        int length = snprintf(line, sizeof line, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
        write_all(to, line, (size_t)length);
    }
    closedir(folder);
    close(to);
    publish(shadow, temporary, "names");
}

static void keep(int fd) {
    const char *disk = getenv("POWERCUT_DISK"), *shadow = getenv("POWERCUT_SHADOW");
    const char *lies = getenv("POWERCUT_LIES"), *dies = getenv("POWERCUT_DIES");
    char self[32], path[PATH_MAX];
    struct stat found;
    if (disk == NULL || shadow == NULL) return;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &found) != 0) fail(self);
    path[length] = '\0';
    size_t depth = strlen(disk);
    int is_disk = strcmp(path, disk) == 0;
    int is_inside = strncmp(path, disk, depth) == 0 && path[depth] == '/' && strchr(path + depth + 1, '/') == NULL;
    if (!is_disk && !(is_inside && S_ISREG(found.st_mode) && found.st_nlink > 0)) return;
    pthread_mutex_lock(&lock);
    calls += 1;
    if (dies != NULL && calls == atol(dies)) raise(SIGKILL);
    if (lies == NULL || calls < atol(lies)) {
        if (is_disk) keep_names(disk, shadow);
        else keep_file(fd, shadow, found.st_ino);
    }
    pthread_mutex_unlock(&lock);
}

static int synchronise(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (next == NULL) {
        errno = ENOSYS;
        fail(name);
    }
    int result = next(fd);
    int error = errno;
    if (result == 0) keep(fd);
    errno = error;
    return result;
}

int fsync(int fd) { return synchronise("fsync", fd); }

int fdatasync(int fd) { return synchronise("fdatasync", fd); }
