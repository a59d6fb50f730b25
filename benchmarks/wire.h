// The generator's sockets: UDP in batches (recvmmsg, sendmmsg), or TCP connections that stay open. See wire.c.

#ifndef WIRE_H
#define WIRE_H

#include <netinet/in.h>

#define MESSAGE 4096
#define BATCH 64
#define MOST_PORTS 64

enum side { CALLER, CALLEE };

// A UDP socket or a TCP connection, with what waits to be sent through it.
struct port {
    enum side side;
    int socket, tcp, waiting;
    char name[32]; // its own address and port, as Via and Contact have them
    struct datagrams *datagrams;
    struct bytes {
        char *text;
        size_t length, room;
    } in, out;
};

// One whole message. `end` points to a NUL; `arrived` is the time (CLOCK_REALTIME, seconds) at which the kernel had it, for UDP with stamps.
typedef void take_message(struct port *port, const struct sockaddr_in *from, const char *message, const char *end, double arrived);

extern long sent, received, unexpected;

double seconds(void);  // CLOCK_MONOTONIC
double realtime(void); // CLOCK_REALTIME
struct sockaddr_in address(const char *text);
struct port *open_udp(enum side side, struct sockaddr_in own, int stamps);
struct port *open_tcp(enum side side, struct sockaddr_in own, struct sockaddr_in peer);
void listen_tcp(struct sockaddr_in own); // what connects becomes a port of the callee
void put(struct port *port, const struct sockaddr_in *to, const char *text, int length);
void put_text(struct port *port, const struct sockaddr_in *to, const char *format, ...);
void flush_all(void);
int take_all(take_message *take);
void wait_for_any(double limit);

// The first line of a header field from `at` on (a line's beginning): its length without the line break in `length`; NULL without one.
const char *find(const char *at, const char *end, const char *name, int *length);
int copy_all(char *out, const char *at, const char *end, const char *name); // all of its lines; how many bytes

void ascend(double *times, long count);
double quantile_ms(const double *times, long count, double part); // of times in order, in seconds

#endif
