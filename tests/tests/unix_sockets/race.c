/* Two threads against whoever looks at an argument twice: one connects, the other one changes what that means.
 *
 * race address OURS HOST: the address alternates between a socket of our own and one of the host.
 * race descriptor OURS HOST: the descriptor alternates between a TCP socket, a unix socket, and a file.
 *
 * Both threads go on until each has had its rounds, so that neither has merely waited for a processor. With a fourth
 * argument they go on until the host has been reached too, as long as that takes.
 *
 * Prints how many of the calls succeeded.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 10000
#define SWAPPED 100

static const char *mode, *ours, *host;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static atomic_int over, swaps;

static void *swap(void *unused) {
    int tcp = socket(AF_INET, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY);
    while (!over) {
        if (!strcmp(mode, "descriptor")) {
            int local = socket(AF_UNIX, SOCK_STREAM, 0);
            dup2(tcp, SWAPPED);
            dup2(local, SWAPPED);
            dup2(file, SWAPPED);
            dup2(local, SWAPPED);
            close(local);
        } else {
            memcpy(address.sun_path, host, strlen(host) + 1);
            __asm__ volatile("" ::: "memory");
            memcpy(address.sun_path, ours, strlen(ours) + 1);
            __asm__ volatile("" ::: "memory");
        }
        if (swaps < ROUNDS) swaps++;
    }
    return unused;
}

/* Whether it is the host that a socket is connected to. */
static int reached(int number) {
    struct sockaddr_un peer = { 0 };
    socklen_t length = sizeof peer;
    return !getpeername(number, (struct sockaddr *)&peer, &length) && !strcmp(peer.sun_path, host);
}

int main(int count, char **arguments) {
    if (count != 4 && count != 5) return 2;
    int awaited = count == 5;
    mode = arguments[1], ours = arguments[2], host = arguments[3];
    int connected = 0, server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, ours, strlen(ours) + 1);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 64)) return 3;
    if (!strcmp(mode, "descriptor")) memcpy(address.sun_path, host, strlen(host) + 1);
    pthread_t thread;
    pthread_create(&thread, NULL, swap, NULL);
    for (int round = 0; round < ROUNDS || swaps < ROUNDS || awaited; round++) {
        int number = SWAPPED;
        if (strcmp(mode, "descriptor")) number = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (!connect(number, (struct sockaddr *)&address, sizeof address)) {
            connected++;
            /* Nobody else is there for the number that is swapped, and by now it may be another socket. */
            if (number == SWAPPED || reached(number)) awaited = 0;
        }
        if (number != SWAPPED) close(number);
        int accepted = accept(server, NULL, NULL);
        if (accepted >= 0) close(accepted);
    }
    over = 1;
    pthread_join(thread, NULL);
    printf("%d\n", connected);
    return 0;
}
