// Imitates the kernel of macOS: once a TCP connection was reset or closed by both sides, setsockopt fails with EINVAL.
//
// cc -shared -fPIC -o setsockopt_einval.so setsockopt_einval.c -ldl
// LD_PRELOAD=./setsockopt_einval.so PROGRAM
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static int is_dead_connection(int fd) {
    int protocol = 0;
    socklen_t length = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) || protocol != IPPROTO_TCP) {
        return 0;
    }
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length)) {
        return 0;
    }
    // State 7 is "closed". A socket that was never connected has it too, but has exchanged no segments.
    return info.tcpi_state == 7 && (info.tcpi_segs_in || info.tcpi_segs_out);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    static int (*real)(int, int, int, const void *, socklen_t);
    if (!real) {
        real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    }
    if (is_dead_connection(fd)) {
        errno = EINVAL;
        return -1;
    }
    return real(fd, level, name, value, length);
}
