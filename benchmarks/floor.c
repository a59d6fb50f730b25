// floor: what the kernel alone costs. A stateless forwarder of SIP over UDP that reads no more than it must and remembers nothing.
//
//   floor PORT CALLEE_PORT
//
// On 127.0.0.1:PORT a request gets a Via and a Record-Route of its own in front (INVITE only) and loses the Route that these cause; a
// response loses its topmost Via and goes to the next one's address; CANCEL is sent on like any request, with the branch of its INVITE. On
// PORT + 1 an INVITE is answered with 403 and an ACK is dropped. Datagrams are received and sent 64 at a time, into buffers that stay.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define MESSAGE 4096

static struct mmsghdr got[BATCH], out[BATCH];
static struct iovec got_part[BATCH], out_part[BATCH][4];
static struct sockaddr_in from[BATCH], to[BATCH];
static char text[BATCH][MESSAGE], added[BATCH][256];
static int port, count_out;

static int opened(int number) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = 8 << 20, sock = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size); // refused to all but root
    if (bind(sock, (struct sockaddr *)&own, sizeof own) < 0) {
        perror("floor");
        exit(2);
    }
    return sock;
}

// Send these parts of a message.
static void send_on(struct sockaddr_in where, const struct iovec *parts, int count) {
    int at = count_out++;
    to[at] = where;
    memcpy(out_part[at], parts, count * sizeof *parts);
    out[at].msg_hdr = (struct msghdr){.msg_name = &to[at], .msg_namelen = sizeof to[at], .msg_iov = out_part[at], .msg_iovlen = count};
}

static struct iovec between(const char *begin, const char *end) { return (struct iovec){(void *)begin, end - begin}; }

static const char *line_after(const char *at) {
    const char *end = strchr(at, '\n');
    return end ? end + 1 : at + strlen(at);
}

// A response: without the topmost Via, to the address in the next.
static void back(const char *message, const char *end) {
    const char *own = strstr(message, "\r\nVia:"), *rest = own ? line_after(own + 2) : NULL;
    char host[32];
    int number;
    if (!rest || sscanf(rest, "Via: SIP/2.0/UDP %31[0-9.]:%d", host, &number) != 2) return;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(number)};
    inet_aton(host, &where.sin_addr);
    send_on(where, (struct iovec[]){between(message, own + 2), between(rest, end)}, 2);
}

// A request: with a Via whose branch is made of the sender's, so that CANCEL and the ACK of a refusal have their INVITE's.
static void on(const char *message, const char *end, const struct sockaddr_in *callee, char *room) {
    const char *first = line_after(message), *branch = strstr(message, ";branch=z9hG4bK"), *route = strstr(message, "\r\nRoute:");
    if (!branch) return;
    branch += 15;
    int inviting = !memcmp(message, "INVITE ", 7);
    int size = snprintf(room, sizeof added[0], "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKf%.*s\r\n", port, (int)strcspn(branch, ";,\r\n"), branch);
    if (inviting) size += snprintf(room + size, sizeof added[0] - size, "Record-Route: <sip:127.0.0.1:%d;lr>\r\n", port);
    const struct iovec ours = between(room, room + size);
    if (route) {
        send_on(*callee, (struct iovec[]){between(message, first), ours, between(first, route + 2), between(line_after(route + 2), end)}, 4);
    } else {
        send_on(*callee, (struct iovec[]){between(message, first), ours, between(first, end)}, 3);
    }
}

// 403: the INVITE's lines without its body, behind a status line. Not what a proxy may send, but as many bytes, and what sipgen reads.
static void refuse(const char *message, const char *end, const struct sockaddr_in *caller) {
    static const char status[] = "SIP/2.0 403 Forbidden\r\n", last[] = "Content-Length: 0\r\n\r\n";
    const char *contact = strstr(message, "\r\nContact:");
    send_on(*caller, (struct iovec[]){between(status, status + sizeof status - 1), between(line_after(message), contact ? contact + 2 : end),
                                      between(last, last + sizeof last - 1)}, 3);
}

int main(int words, char **word) {
    if (words != 3) {
        fprintf(stderr, "usage: floor PORT CALLEE_PORT\n");
        return 2;
    }
    port = atoi(word[1]);
    struct sockaddr_in callee = {.sin_family = AF_INET, .sin_port = htons(atoi(word[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd readable[2] = {{opened(port), POLLIN, 0}, {opened(port + 1), POLLIN, 0}};
    for (;;) {
        poll(readable, 2, -1);
        for (int refusing = 0; refusing < 2; refusing++) {
            if (!readable[refusing].revents) continue;
            for (int at = 0; at < BATCH; at++) {
                got_part[at] = (struct iovec){text[at], MESSAGE - 1};
                got[at].msg_hdr = (struct msghdr){.msg_name = &from[at], .msg_namelen = sizeof from[at], .msg_iov = &got_part[at], .msg_iovlen = 1};
            }
            int count = recvmmsg(readable[refusing].fd, got, BATCH, MSG_DONTWAIT, NULL);
            count_out = 0;
            for (int at = 0; at < count; at++) {
                char *end = text[at] + got[at].msg_len;
                *end = 0;
                if (!memcmp(text[at], "SIP/2.0 ", 8)) {
                    back(text[at], end);
                } else if (!memcmp(text[at], "OPTIONS ", 8) || (refusing && !memcmp(text[at], "INVITE ", 7))) {
                    refuse(text[at], end, &from[at]);
                } else if (!refusing) {
                    on(text[at], end, &callee, added[at]);
                }
            }
            for (int done = 0, sent; done < count_out; done += sent > 0 ? sent : 1) sent = sendmmsg(readable[refusing].fd, out + done, count_out - done, 0);
        }
    }
}
