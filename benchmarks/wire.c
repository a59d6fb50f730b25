// Sockets of sipgen. Everything that is put waits until flush_all: one system call sends up to 64 datagrams, or all of a connection's bytes.

#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES (256 << 20) // that wait on one connection: a proxy that reads no more has failed

struct datagrams {
    struct mmsghdr header[BATCH];
    struct iovec part[BATCH];
    struct sockaddr_in to[BATCH];
    char text[BATCH][MESSAGE];
};

long sent, received, unexpected;
static struct port *ports[MOST_PORTS];
static struct pollfd polled[MOST_PORTS + 1];
static int port_count, listening = -1;

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

double seconds(void) { return clock_seconds(CLOCK_MONOTONIC); }

double realtime(void) { return clock_seconds(CLOCK_REALTIME); }

struct sockaddr_in address(const char *text) {
    struct sockaddr_in found = {.sin_family = AF_INET};
    char host[32];
    int port;
    if (sscanf(text, "%31[0-9.]:%d", host, &port) != 2 || !inet_aton(host, &found.sin_addr)) {
        fprintf(stderr, "sipgen: %s is no address:port\n", text);
        exit(2);
    }
    found.sin_port = htons(port);
    return found;
}

static void fail(const char *what, const struct sockaddr_in *at) {
    fprintf(stderr, "sipgen: %s %s:%d: %s\n", what, inet_ntoa(at->sin_addr), ntohs(at->sin_port), strerror(errno));
    exit(2);
}

static int bound(int type, const struct sockaddr_in *own) {
    int size = 8 << 20, on = 1, sock = socket(AF_INET, type, 0);
    if (type == SOCK_STREAM) {
        setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    } else {
        setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        (void)setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size); // refused to all but root
    }
    if (sock < 0 || bind(sock, (const struct sockaddr *)own, sizeof *own) < 0) fail(type == SOCK_STREAM ? "TCP port" : "UDP port", own);
    return sock;
}

static struct port *new_port(enum side side, int sock, int tcp) {
    if (port_count == MOST_PORTS) {
        fprintf(stderr, "sipgen: more than %d sockets\n", MOST_PORTS);
        exit(2);
    }
    struct port *port = calloc(1, sizeof *port);
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    getsockname(sock, (struct sockaddr *)&own, &size);
    snprintf(port->name, sizeof port->name, "%s:%d", inet_ntoa(own.sin_addr), ntohs(own.sin_port));
    port->side = side;
    port->socket = sock;
    port->tcp = tcp;
    if (!tcp) port->datagrams = calloc(1, sizeof *port->datagrams);
    fcntl(sock, F_SETFL, O_NONBLOCK);
    return ports[port_count++] = port;
}

struct port *open_udp(enum side side, struct sockaddr_in own, int stamps) {
    int on = 1, sock = bound(SOCK_DGRAM, &own);
    if (stamps) setsockopt(sock, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    return new_port(side, sock, 0);
}

struct port *open_tcp(enum side side, struct sockaddr_in own, struct sockaddr_in peer) {
    int sock = bound(SOCK_STREAM, &own);
    if (connect(sock, (struct sockaddr *)&peer, sizeof peer) < 0) fail("connect to", &peer);
    return new_port(side, sock, 1);
}

void listen_tcp(struct sockaddr_in own) {
    listening = bound(SOCK_STREAM, &own);
    listen(listening, 64);
    fcntl(listening, F_SETFL, O_NONBLOCK);
}

// sending

static void flush_datagrams(struct port *port) {
    int done = 0;
    while (done < port->waiting) {
        int count = sendmmsg(port->socket, port->datagrams->header + done, port->waiting - done, 0);
        if (count > 0) {
            done += count;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {port->socket, POLLOUT, 0};
            poll(&writable, 1, 10);
        } else if (errno != EINTR) {
            done++; // this one cannot be sent: it shows as a lost call
        }
    }
    port->waiting = 0;
}

static void flush_bytes(struct port *port) {
    size_t done = 0;
    while (done < port->out.length) {
        ssize_t count = send(port->socket, port->out.text + done, port->out.length - done, MSG_NOSIGNAL);
        if (count > 0) {
            done += count;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            done = port->out.length; // the connection is gone: its calls show as lost
        }
    }
    port->out.length -= done;
    memmove(port->out.text, port->out.text + done, port->out.length);
}

void flush_all(void) {
    for (int at = 0; at < port_count; at++) {
        if (ports[at]->tcp) {
            if (ports[at]->out.length && ports[at]->socket >= 0) flush_bytes(ports[at]);
        } else if (ports[at]->waiting) {
            flush_datagrams(ports[at]);
        }
    }
}

static void enlarge(struct bytes *bytes, size_t more) {
    if (bytes->length + more <= bytes->room) return;
    bytes->room = 2 * (bytes->length + more);
    if (bytes->room > MOST_BYTES || !(bytes->text = realloc(bytes->text, bytes->room))) {
        fprintf(stderr, "sipgen: %zu bytes wait on one connection\n", bytes->length);
        exit(3);
    }
}

// Room for one message; `done` of it are then taken.
static char *room(struct port *port) {
    if (port->tcp) {
        enlarge(&port->out, MESSAGE);
        return port->out.text + port->out.length;
    }
    if (port->waiting == BATCH) flush_datagrams(port);
    return port->datagrams->text[port->waiting];
}

static void done(struct port *port, const struct sockaddr_in *to, int length) {
    sent++;
    if (port->tcp) {
        port->out.length += length;
        return;
    }
    struct datagrams *queue = port->datagrams;
    int at = port->waiting++;
    queue->to[at] = *to;
    queue->part[at] = (struct iovec){queue->text[at], length};
    queue->header[at].msg_hdr = (struct msghdr){.msg_name = &queue->to[at], .msg_namelen = sizeof *to, .msg_iov = &queue->part[at], .msg_iovlen = 1};
}

void put(struct port *port, const struct sockaddr_in *to, const char *text, int length) {
    if (length > MESSAGE) length = MESSAGE;
    memcpy(room(port), text, length);
    done(port, to, length);
}

void put_text(struct port *port, const struct sockaddr_in *to, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(room(port), MESSAGE, format, values);
    va_end(values);
    done(port, to, length < MESSAGE ? length : MESSAGE - 1);
}

// receiving

static int take_datagrams(struct port *port, take_message *take) {
    static struct mmsghdr header[BATCH];
    static struct iovec part[BATCH];
    static struct sockaddr_in from[BATCH];
    static char text[BATCH][MESSAGE], control[BATCH][64];
    for (int at = 0; at < BATCH; at++) {
        part[at] = (struct iovec){text[at], MESSAGE - 1};
        header[at].msg_hdr = (struct msghdr){.msg_name = &from[at],
                                             .msg_namelen = sizeof from[at],
                                             .msg_iov = &part[at],
                                             .msg_iovlen = 1,
                                             .msg_control = control[at],
                                             .msg_controllen = sizeof control[at]};
    }
    int count = recvmmsg(port->socket, header, BATCH, MSG_DONTWAIT, NULL);
    for (int at = 0; at < count; at++) {
        struct cmsghdr *first = CMSG_FIRSTHDR(&header[at].msg_hdr);
        struct timespec stamp = {0, 0};
        if (first && first->cmsg_type == SCM_TIMESTAMPNS) memcpy(&stamp, CMSG_DATA(first), sizeof stamp);
        text[at][header[at].msg_len] = 0;
        if (header[at].msg_len < 16) {
            unexpected++;
        } else {
            received++;
            take(port, &from[at], text[at], text[at] + header[at].msg_len, stamp.tv_sec + stamp.tv_nsec * 1e-9);
        }
    }
    return count > 0;
}

// The length of the first whole message in `text`, 0 where it is not all there.
static size_t framed(const char *text, size_t length) {
    const char *end = memmem(text, length, "\r\n\r\n", 4), *line = text;
    while (end && line < end && strncasecmp(line, "Content-Length:", 15)) line = (const char *)memchr(line, '\n', end + 2 - line) + 1;
    if (!end) return 0;
    size_t size = end + 4 - text + (line < end ? strtoul(line + 15, NULL, 10) : 0);
    return size <= length ? size : 0;
}

static int take_bytes(struct port *port, take_message *take) {
    static const struct sockaddr_in nobody;
    enlarge(&port->in, 65536);
    ssize_t count = recv(port->socket, port->in.text + port->in.length, 65535, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
        close(port->socket);
        port->socket = -1;
    }
    if (count <= 0) return 0;
    port->in.length += count;
    size_t at = 0, size;
    while ((size = framed(port->in.text + at, port->in.length - at))) {
        char *end = port->in.text + at + size, kept = *end;
        *end = 0;
        received++;
        take(port, &nobody, port->in.text + at, end, realtime());
        *end = kept;
        at += size;
    }
    port->in.length -= at;
    memmove(port->in.text, port->in.text + at, port->in.length);
    return 1;
}

int take_all(take_message *take) {
    int any = 0, accepted;
    if (listening >= 0 && (accepted = accept(listening, NULL, NULL)) >= 0) {
        int on = 1;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        new_port(CALLEE, accepted, 1);
    }
    for (int at = 0; at < port_count; at++) {
        if (ports[at]->socket >= 0) any |= ports[at]->tcp ? take_bytes(ports[at], take) : take_datagrams(ports[at], take);
    }
    return any;
}

void wait_for_any(double limit) {
    for (int at = 0; at < port_count; at++) {
        polled[at] = (struct pollfd){ports[at]->socket, ports[at]->out.length ? POLLIN | POLLOUT : POLLIN, 0};
    }
    polled[port_count] = (struct pollfd){listening, POLLIN, 0};
    struct timespec wait = {0, (long)(1e9 * (limit < 1e-6 ? 1e-6 : limit > 0.02 ? 0.02 : limit))};
    ppoll(polled, port_count + 1, &wait, NULL);
}

// reading

const char *find(const char *at, const char *end, const char *name, int *length) {
    size_t size = strlen(name);
    while (at < end) {
        const char *stop = memchr(at, '\n', end - at);
        if (!stop || stop - at <= 1) return NULL;
        if ((size_t)(stop - at) > size && !strncasecmp(at, name, size)) {
            *length = stop - at - 1;
            return at;
        }
        at = stop + 1;
    }
    return NULL;
}

int copy_all(char *out, const char *at, const char *end, const char *name) {
    int written = 0, length;
    while ((at = find(at, end, name, &length))) {
        memcpy(out + written, at, length + 2);
        written += length + 2;
        at += length + 2;
    }
    return written;
}

// figures

static int ascending(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

void ascend(double *times, long count) { qsort(times, count, sizeof *times, ascending); }

double quantile_ms(const double *times, long count, double part) { return count ? times[(long)((count - 1) * part)] * 1e3 : 0; }
