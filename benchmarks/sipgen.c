// sipgen: the caller and the callee of a benchmark in one process, over loopback UDP in batches (recvmmsg, sendmmsg).
//
//   sipgen PROXY_PORT CALLER_PORT CALLEE_PORT call|reject RATE WINDOW SECONDS NUMBERS
//
// call:    INVITE, (100), 180, 200, ACK, then BYE, 200.      reject:  INVITE, 403, ACK.
// RATE     calls started each second (open loop); 0 keeps WINDOW calls open (closed loop: as many as the proxy can take).
// NUMBERS  a file of calling numbers, digits only, one a line; they are used in turn. The called number is new for each call.
//
// Nothing is ever sent again. One JSON line says what became of the calls: `ok`, `bad` (another status than wanted), `lost` (no answer),
// `late` (longer than T1 = 500 ms, when a real caller would have sent the INVITE again), how long INVITE took to its final response, and
// the CPU that this process used.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define MESSAGE 4096
#define MOST_CALLS (1 << 20)
#define MOST_NUMBERS 100000
#define DRAIN 1.5 // seconds that open calls have after the last one was started
#define T1 0.5

static const char OFFER[] =
    "v=0\r\no=PBX 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8 0 18 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    "a=ptime:20\r\na=sendrecv\r\n";
static const char ANSWER[] =
    "v=0\r\no=GW 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n";

enum { FREE, INVITED, HUNG_UP, OVER };

struct call {
    double started;
    uint8_t state;
    uint8_t rang;
};

// Datagrams that wait to be sent in one system call.
struct queue {
    int socket;
    int waiting;
    struct mmsghdr header[BATCH];
    struct iovec part[BATCH];
    struct sockaddr_in to[BATCH];
    char text[BATCH][MESSAGE];
};

static struct call *calls;
static char *numbers[MOST_NUMBERS];
static int number_count, proxy_port, caller_port, callee_port, rejecting, self;
static struct queue caller, callee;
static struct sockaddr_in proxy;
static double *response_times;
static long response_count, started, finished, bad, open_calls, late, unexpected, repeated, received, sent;
static double last_end;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static int open_socket(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = 4 << 20, sock = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size); // refused to all but root
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof address) < 0) {
        fprintf(stderr, "sipgen: UDP port %d: %s\n", port, strerror(errno));
        exit(2);
    }
    fcntl(sock, F_SETFL, O_NONBLOCK);
    return sock;
}

static void flush(struct queue *queue) {
    int done = 0;
    while (done < queue->waiting) {
        int count = sendmmsg(queue->socket, queue->header + done, queue->waiting - done, 0);
        if (count > 0) {
            done += count;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {queue->socket, POLLOUT, 0};
            poll(&writable, 1, 10);
        } else if (errno != EINTR) {
            done++; // this one cannot be sent: it shows as a lost call
        }
    }
    queue->waiting = 0;
}

static char *room(struct queue *queue) {
    if (queue->waiting == BATCH) flush(queue);
    return queue->text[queue->waiting];
}

static void put(struct queue *queue, int length, const struct sockaddr_in *to) {
    int at = queue->waiting++;
    queue->to[at] = *to;
    queue->part[at] = (struct iovec){queue->text[at], length};
    memset(&queue->header[at], 0, sizeof queue->header[at]);
    queue->header[at].msg_hdr.msg_iov = &queue->part[at];
    queue->header[at].msg_hdr.msg_iovlen = 1;
    queue->header[at].msg_hdr.msg_name = &queue->to[at];
    queue->header[at].msg_hdr.msg_namelen = sizeof queue->to[at];
    sent++;
}

static void put_text(struct queue *queue, const struct sockaddr_in *to, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(room(queue), MESSAGE, format, values);
    va_end(values);
    put(queue, length < MESSAGE ? length : MESSAGE - 1, to);
}

// The first line of a header field from `at` on (a line's beginning): its length without the line break in `length`; NULL without one.
static const char *find(const char *at, const char *end, const char *name, int *length) {
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

static int copy_all(char *out, const char *at, const char *end, const char *name) {
    int written = 0, length;
    while ((at = find(at, end, name, &length))) {
        memcpy(out + written, at, length + 2);
        written += length + 2;
        at += length + 2;
    }
    return written;
}

// the caller

static void invite(double now) {
    long id = started++;
    const char *number = numbers[id % number_count];
    put_text(&caller, &proxy,
             "INVITE sip:+86216%07ld@127.0.0.1:%d;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%d-%ld-i\r\n"
             "Max-Forwards: 68\r\nFrom: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n"
             "To: <sip:+86216%07ld@127.0.0.1:%d;user=phone>\r\nCall-ID: %ld-%d@127.0.0.1\r\nCSeq: 1 INVITE\r\n"
             "Contact: <sip:trunk1001@127.0.0.1:%d;transport=udp>\r\nP-Asserted-Identity: <sip:+%s@trunk1001.example.net;user=phone>\r\n"
             "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\nSupported: 100rel, timer, replaces\r\nSession-Expires: 1800\r\n"
             "User-Agent: TrunkPBX/12.4.1 (build 20931)\r\nContent-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s",
             id, proxy_port, caller_port, self, id, number, self, id, id, proxy_port, id, self, caller_port, number, sizeof OFFER - 1, OFFER);
    calls[id] = (struct call){now, INVITED, 0};
    open_calls++;
}

static void end_call(long id, int well) {
    last_end = seconds();
    calls[id].state = OVER;
    open_calls--;
    if (last_end - calls[id].started > T1) late++;
    if (well) {
        finished++;
    } else {
        bad++;
    }
}

static void acknowledge_refusal(long id, const char *to, int to_length) {
    put_text(&caller, &proxy,
             "ACK sip:+86216%07ld@127.0.0.1:%d;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%d-%ld-i\r\nMax-Forwards: 68\r\n"
             "From: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n%.*s\r\nCall-ID: %ld-%d@127.0.0.1\r\n"
             "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
             id, proxy_port, caller_port, self, id, numbers[id % number_count], self, id, to_length, to, id, self);
}

// ACK for the 200, and BYE at once, along the route set (Record-Route turned round).
static void answer_and_hang_up(long id, const char *message, const char *end, const char *to, int to_length) {
    const char *record[8], *at = message;
    int length[8], count = 0, size;
    while (count < 8 && (at = find(at, end, "Record-Route:", &size))) {
        record[count] = at + 13;
        length[count++] = size - 13;
        at += size + 2;
    }
    char route[1024] = "", uri[256] = "sip:127.0.0.1";
    int used = 0;
    while (count-- && used + length[count] + 10 < (int)sizeof route) used += sprintf(route + used, "Route:%.*s\r\n", length[count], record[count]);
    const char *contact = find(message, end, "Contact:", &size);
    const char *opening = contact ? memchr(contact, '<', size) : NULL;
    const char *closing = opening ? memchr(opening, '>', size - (opening - contact)) : NULL;
    if (closing && closing - opening < (int)sizeof uri) {
        memcpy(uri, opening + 1, closing - opening - 1);
        uri[closing - opening - 1] = 0;
    }
    for (int hanging_up = 0; hanging_up < 2; hanging_up++) {
        const char *method = hanging_up ? "BYE" : "ACK";
        put_text(&caller, &proxy,
                 "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%d-%ld-%c\r\n%sMax-Forwards: 68\r\n"
                 "From: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n%.*s\r\nCall-ID: %ld-%d@127.0.0.1\r\n"
                 "CSeq: %d %s\r\nContent-Length: 0\r\n\r\n",
                 method, uri, caller_port, self, id, hanging_up ? 'b' : 'a', route, numbers[id % number_count], self, id, to_length, to, id, self,
                 hanging_up + 1, method);
    }
    calls[id].state = HUNG_UP;
}

static void take_response(const char *message, const char *end) {
    int length, to_length;
    const char *call_id = find(message, end, "Call-ID:", &length);
    const char *to = find(message, end, "To:", &to_length);
    const char *cseq = find(message, end, "CSeq:", &length);
    long id = call_id ? atol(call_id + 8) : -1;
    if (memcmp(message, "SIP/2.0 ", 8) || !to || !cseq || id < 0 || id >= started) {
        unexpected++;
        return;
    }
    int status = atoi(message + 8), of_bye = memmem(cseq, length, "BYE", 3) != NULL;
    struct call *call = &calls[id];
    if (status < 200) {
        if (status == 180) call->rang = 1;
    } else if (call->state != (of_bye ? HUNG_UP : INVITED)) {
        repeated++;
    } else if (of_bye) {
        end_call(id, status == 200 && call->rang);
    } else {
        response_times[response_count++] = seconds() - call->started;
        if (status >= 300) {
            acknowledge_refusal(id, to, to_length);
            end_call(id, rejecting && status == 403);
        } else if (rejecting) {
            end_call(id, 0);
        } else {
            answer_and_hang_up(id, message, end, to, to_length);
        }
    }
}

// the callee

static void take_request(const char *message, const char *end, const struct sockaddr_in *from) {
    int inviting = !memcmp(message, "INVITE ", 7), to_length;
    if (!memcmp(message, "ACK ", 4)) return;
    const char *to = find(message, end, "To:", &to_length);
    if ((!inviting && memcmp(message, "BYE ", 4)) || !to) {
        unexpected++;
        return;
    }
    char copied[MESSAGE + 64];
    int size = copy_all(copied, message, end, "Via:");
    size += copy_all(copied + size, message, end, "Record-Route:");
    size += copy_all(copied + size, message, end, "From:");
    memcpy(copied + size, to, to_length);
    size += to_length;
    if (inviting) size += sprintf(copied + size, ";tag=Gt%d", self);
    memcpy(copied + size, "\r\n", 2);
    size += 2;
    size += copy_all(copied + size, message, end, "Call-ID:");
    size += copy_all(copied + size, message, end, "CSeq:");
    if (!inviting) {
        put_text(&callee, from, "SIP/2.0 200 OK\r\n%.*sContent-Length: 0\r\n\r\n", size, copied);
        return;
    }
    put_text(&callee, from, "SIP/2.0 180 Ringing\r\n%.*sContact: <sip:127.0.0.1:%d;transport=udp>\r\nContent-Length: 0\r\n\r\n", size, copied,
             callee_port);
    put_text(&callee, from,
             "SIP/2.0 200 OK\r\n%.*sContact: <sip:127.0.0.1:%d;transport=udp>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n"
             "Content-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s",
             size, copied, callee_port, sizeof ANSWER - 1, ANSWER);
}

// both

static int take(struct queue *side) {
    static struct mmsghdr header[BATCH];
    static struct iovec part[BATCH];
    static struct sockaddr_in from[BATCH];
    static char text[BATCH][MESSAGE];
    for (int at = 0; at < BATCH; at++) {
        part[at] = (struct iovec){text[at], MESSAGE - 1};
        memset(&header[at], 0, sizeof header[at]);
        header[at].msg_hdr.msg_iov = &part[at];
        header[at].msg_hdr.msg_iovlen = 1;
        header[at].msg_hdr.msg_name = &from[at];
        header[at].msg_hdr.msg_namelen = sizeof from[at];
    }
    int count = recvmmsg(side->socket, header, BATCH, MSG_DONTWAIT, NULL);
    for (int at = 0; at < count; at++) {
        char *end = text[at] + header[at].msg_len;
        memset(end, 0, 1);
        if (header[at].msg_len < 16) {
            unexpected++;
        } else if (side == &caller) {
            take_response(text[at], end);
        } else {
            take_request(text[at], end, &from[at]);
        }
    }
    if (count > 0) received += count;
    return count > 0;
}

static int ascending(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static double quantile(double part) { return response_count ? response_times[(long)((response_count - 1) * part)] * 1e3 : 0; }

static void read_numbers(const char *path) {
    char line[64];
    FILE *file = fopen(path, "r");
    while (file && number_count < MOST_NUMBERS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        numbers[number_count++] = strdup(line);
    }
    if (!number_count) {
        fprintf(stderr, "sipgen: no numbers in %s\n", path);
        exit(2);
    }
    fclose(file);
}

int main(int count, char **words) {
    if (count != 9) {
        fprintf(stderr, "usage: sipgen PROXY_PORT CALLER_PORT CALLEE_PORT call|reject RATE WINDOW SECONDS NUMBERS\n");
        return 2;
    }
    proxy_port = atoi(words[1]);
    caller_port = atoi(words[2]);
    callee_port = atoi(words[3]);
    rejecting = !strcmp(words[4], "reject");
    double rate = atof(words[5]), length = atof(words[7]);
    int window = atoi(words[6]);
    read_numbers(words[8]);
    self = getpid();
    calls = calloc(MOST_CALLS, sizeof *calls);
    response_times = malloc(MOST_CALLS * sizeof *response_times);
    caller.socket = open_socket(caller_port);
    callee.socket = open_socket(callee_port);
    proxy = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(proxy_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    double begin = seconds(), stop = begin + length, now;
    last_end = begin;
    while ((now = seconds()) < stop + DRAIN && (now < stop || open_calls)) {
        if (now < stop) {
            long wanted = rate > 0 ? (long)((now - begin) * rate) : started + window - open_calls;
            for (int burst = 0; burst < BATCH && started < wanted && started < MOST_CALLS - 1; burst++) invite(now);
            flush(&caller);
        }
        int any = take(&caller);
        any |= take(&callee);
        flush(&caller);
        flush(&callee);
        if (!any) {
            struct pollfd readable[2] = {{caller.socket, POLLIN, 0}, {callee.socket, POLLIN, 0}};
            double pause = rate > 0 ? begin + (started + 1) / rate - seconds() : 0.02;
            struct timespec wait = {0, (long)(1e9 * (pause < 1e-6 ? 1e-6 : pause > 0.02 ? 0.02 : pause))};
            ppoll(readable, 2, &wait, NULL);
        }
    }

    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    double lasted = last_end > begin ? last_end - begin : length;
    qsort(response_times, response_count, sizeof *response_times, ascending);
    printf("{\"started\": %ld, \"ok\": %ld, \"bad\": %ld, \"lost\": %ld, \"late\": %ld, \"seconds\": %.3f, \"each_second\": %.1f, "
           "\"received\": %ld, \"sent\": %ld, \"unexpected\": %ld, \"repeated\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"cpu\": %.3f}\n",
           started, finished, bad, open_calls, late, lasted, finished / lasted, received, sent, unexpected, repeated, quantile(0.5),
           quantile(0.99), cpu);
    return 0;
}
