/*
 * The least that a start can take: the kernel's work for `codex sandbox -- true`, and nothing of its own. No arguments are
 * read, no configuration, no policy; nothing is reported, no signal passed on, no system call filtered. For root.
 *
 *     floor plain       a second program, by vfork(2)
 *     floor landlock    a process that stays, Landlock, and the program
 *     floor namespaces  all namespaces, a first process in them, /dev and /proc, Landlock, and the program
 *     floor no-network  the same without a network namespace
 *
 *     cc -O2 -static-pie -o floor benches/floor.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/landlock.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of linux/mount.h, which does not go together with sys/mount.h everywhere. */
enum { READ_ONLY = 1, NO_SUID = 2, NO_DEV = 4, NO_EXEC = 8, CLONE_TREE = 1, CREATE = 6, FROM_EMPTY = 4, TO_EMPTY = 0x40 };

static void fail(const char *call)
{
    perror(call);
    _exit(1);
}

static long done(const char *call, long answer)
{
    if (answer < 0)
        fail(call);
    return answer;
}

static void start(void)
{
    char *words[] = {"true", 0}, *none[] = {0};
    pid_t process = vfork();
    if (!process) {
        execve("/usr/bin/true", words, none);
        _exit(127);
    }
    int status;
    if (process < 0 || waitpid(process, &status, 0) != process || status)
        fail("true");
}

static void attributes(int mount, unsigned long set, unsigned long propagation, int flags)
{
    unsigned long words[4] = {set, 0, propagation, 0};
    done("mount_setattr", syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, words, sizeof words));
}

static int file_system(const char *kind, unsigned attributes)
{
    int context = done("fsopen", syscall(SYS_fsopen, kind, 1));
    done("fsconfig", syscall(SYS_fsconfig, context, CREATE, 0, 0, 0));
    int mount = done("fsmount", syscall(SYS_fsmount, context, 1, attributes));
    close(context);
    return mount;
}

static void put(int mount, const char *path)
{
    int place = done("open", open(path, O_PATH | O_DIRECTORY));
    done("move_mount", syscall(SYS_move_mount, mount, "", place, "", FROM_EMPTY | TO_EMPTY));
    close(place);
}

static void arrange(void)
{
    static const char *nodes[] = {"null", "zero", "full", "tty", "random", "urandom"};
    enum { NODES = sizeof nodes / sizeof *nodes };
    int mounts[NODES], root = done("open", open("/", O_PATH | O_DIRECTORY));
    attributes(root, 0, MS_PRIVATE, AT_RECURSIVE);
    int memory = file_system("tmpfs", NO_SUID | NO_DEV);
    for (int node = 0; node < NODES; node++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", nodes[node]);
        mounts[node] = done("open_tree", syscall(SYS_open_tree, AT_FDCWD, path, CLONE_TREE | O_CLOEXEC));
    }
    put(memory, "/proc");
    attributes(root, NO_DEV, 0, AT_RECURSIVE);
    done("mkdir", mkdirat(memory, "dev", 0755));
    int devices = done("open", openat(memory, "dev", O_RDONLY | O_DIRECTORY));
    for (int node = 0; node < NODES; node++)
        done("mknod", mknodat(devices, nodes[node], S_IFREG | 0644, 0));
    done("mkdir", mkdirat(devices, "pts", 0755));
    done("mkdir", mkdirat(devices, "mqueue", 0755));
    int tree = done("open_tree", syscall(SYS_open_tree, devices, "", CLONE_TREE | O_CLOEXEC | AT_EMPTY_PATH));
    put(tree, "/dev");
    for (int node = 0; node < NODES; node++)
        done("move_mount", syscall(SYS_move_mount, mounts[node], "", tree, nodes[node], FROM_EMPTY));
    put(file_system("devpts", NO_SUID | NO_EXEC), "/dev/pts");
    put(file_system("mqueue", NO_SUID | NO_DEV | NO_EXEC), "/dev/mqueue");
    put(file_system("proc", READ_ONLY | NO_SUID | NO_DEV | NO_EXEC), "/proc");
    attributes(root, READ_ONLY, 0, AT_RECURSIVE);
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int control = done("socket", socket(AF_INET, SOCK_DGRAM, 0));
    done("ioctl", ioctl(control, SIOCSIFFLAGS, &request));
    close(control);
}

static void confine(void)
{
    /* All rights on files that change something: ABI 3. */
    struct landlock_ruleset_attr rights = {.handled_access_fs = 0x7ff2};
    static const char *writable[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty"};
    int rules = done("landlock_create_ruleset", syscall(SYS_landlock_create_ruleset, &rights, 8, 0));
    for (unsigned file = 0; file < sizeof writable / sizeof *writable; file++) {
        struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_WRITE_FILE};
        rule.parent_fd = done("open", open(writable[file], O_PATH));
        done("landlock_add_rule", syscall(SYS_landlock_add_rule, rules, 1, &rule, 0));
        close(rule.parent_fd);
    }
    done("prctl", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    done("landlock_restrict_self", syscall(SYS_landlock_restrict_self, rules, 0));
    close(rules);
}

static void map(pid_t process, const char *kind)
{
    static const char everybody[] = "0 0 4294967295\n";
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", process, kind);
    int file = done(path, open(path, O_WRONLY));
    done(path, write(file, everybody, sizeof everybody - 1));
    close(file);
}

int main(int count, char **words)
{
    const char *what = count == 2 ? words[1] : "";
    int landlock = !strcmp(what, "landlock"), network = !strcmp(what, "namespaces");
    if (!strcmp(what, "plain")) {
        start();
        return 0;
    }
    if (!landlock && !network && strcmp(what, "no-network"))
        return 2;
    int gate[2];
    done("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate));
    long flags = SIGCHLD | (landlock ? 0 : CLONE_NEWUSER | CLONE_NEWPID);
    pid_t process = done("clone", syscall(SYS_clone, flags, 0, 0, 0, 0));
    char word = 0;
    if (process) {
        close(gate[0]);
        if (!landlock) {
            map(process, "uid_map");
            map(process, "gid_map");
        }
        done("write", write(gate[1], &word, 1));
        int status;
        return waitpid(process, &status, 0) != process || status;
    }
    done("prctl", prctl(PR_SET_PDEATHSIG, SIGKILL));
    if (!landlock)
        done("unshare", unshare(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | (network ? CLONE_NEWNET : 0)));
    if (read(gate[0], &word, 1) != 1)
        fail("read");
    if (!landlock)
        arrange();
    if (network)
        loopback_up();
    confine();
    start();
    _exit(0);
}
