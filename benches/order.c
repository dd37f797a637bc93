/*
 * Runs a program and writes down which of its instructions are come to, in the order of the first time: one offset from the
 * start of the program a line, in 16 hexadecimal digits. What it forks is followed, until it executes another program.
 *
 *     order PROGRAM ARGUMENT...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* More than the program has. */
#define SIZE (64UL << 20)

static unsigned char seen[SIZE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Where a program stands: the first line of its map. */
static unsigned long base_of(pid_t process)
{
    char path[64];
    unsigned long base = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", process);
    FILE *map = fopen(path, "r");
    if (!map || fscanf(map, "%lx", &base) != 1)
        fail(path);
    fclose(map);
    return base;
}

int main(int count, char **words)
{
    if (count < 2)
        return 2;
    pid_t first = fork();
    if (first < 0)
        fail("fork");
    if (!first) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP))
            fail("ptrace");
        /* What the program writes is nobody's. */
        if (!freopen("/dev/null", "w", stdout))
            fail("/dev/null");
        execvp(words[1], words + 1);
        fail(words[1]);
    }
    int status;
    const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (waitpid(first, &status, 0) != first || ptrace(PTRACE_SETOPTIONS, first, 0, options) ||
        ptrace(PTRACE_CONT, first, 0, 0))
        fail("ptrace");
    unsigned long base = 0;
    pid_t process;
    while ((process = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status))
            continue;
        int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_EXEC) {
            if (base) {
                ptrace(PTRACE_DETACH, process, 0, 0);
                continue;
            }
            base = base_of(process);
        }
        struct user_regs_struct registers;
        if (base && !ptrace(PTRACE_GETREGS, process, 0, &registers)) {
            unsigned long offset = registers.rip - base;
            if (offset < SIZE && !seen[offset]) {
                seen[offset] = 1;
                printf("%016lx\n", offset);
            }
        }
        int ours = event || signal == SIGTRAP || signal == SIGSTOP;
        ptrace(base ? PTRACE_SINGLESTEP : PTRACE_CONT, process, 0, ours ? 0 : signal);
    }
    return errno == ECHILD ? 0 : 1;
}
