// sipgen: the caller and the callee of a benchmark in one process, on loopback.
//
//   sipgen load=call numbers=FILE [name=value ...]
//
// load       call:   INVITE, (100), 180, 200, ACK, BYE, 200.
//            reject: INVITE, 403, ACK.
//            cancel: INVITE, 100, 180, CANCEL, 200, 487, ACK.
// transport  udp, or tcp: a connection from each caller to the proxy, and what the proxy opens to the callee; all stay open.
// proxy, caller, callee   address:port. The callee's own in place of the proxy's is the direct path.
// peers      how many callers, on addresses that follow one another.
// rate       calls started each second (open loop); 0 keeps `window` calls open (closed loop: as many as the proxy can take).
// seconds    how long calls are started.
// ring, hold seconds from 180 to 200, and from ACK to BYE.
// numbers    a file of calling numbers, digits only, one a line; they are used in turn. The called number is new for each call.
// stamps     1: the kernel says when each datagram came, so that `hop` is what is between the sockets and nothing of this program.
// waits      a file for each hop longer than 1 ms: when the INVITE was sent and when its answer or itself came, in seconds (CLOCK_REALTIME).
//
// Nothing is ever sent again. One JSON line says what became of the calls: `ok`, `bad` (another status than wanted), `lost` (no answer),
// `late` (its answer took longer than T1 = 500 ms, when a real caller would have sent the INVITE again), how long INVITE took to its final
// response, how long to come out of the proxy again or, refused, to its answer (`hop`), and the CPU that this process used.

#define _GNU_SOURCE
#include "wire.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST_CALLS (1 << 21)
#define MOST_NUMBERS 100000
#define DRAIN 1.5 // seconds that open calls have after the last one was started, and has rung and been held
#define T1 0.5
#define LONG 1e-3
#define INTERRUPTED 3e-4 // sending takes less: else this program was interrupted, and the INVITE counts as sent at the end of that

static const char OFFER[] =
    "v=0\r\no=PBX 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8 0 18 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    "a=ptime:20\r\na=sendrecv\r\n";
static const char ANSWER[] =
    "v=0\r\no=GW 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n";

enum { FREE, INVITED, CANCELLING, HELD, HUNG_UP, OVER };

struct call {
    double started, sent, due; // `due`: when its 200 or its BYE is to be sent
    uint8_t state, rang, cancelled, refused, seen;
    int kept_length;
    char *kept; // the callee's header lines until it answers, then the caller's BYE until it hangs up
    struct port *port;
    struct sockaddr_in to;
};

// Calls in the order in which they are due.
struct queue {
    long *ids, first, last;
};

static struct call *calls;
static char *numbers[MOST_NUMBERS];
static int number_count, self, peer_count = 1, rejecting, cancelling, tcp;
static struct port *callers[MOST_PORTS];
static struct sockaddr_in proxy;
static char proxy_name[32], callee_name[32];
static struct queue ringing, holding;
static double ring, hold, rate, last_end, *answer_times, *hop_times;
static long answer_count, hop_count, started, finished, bad, open_calls, most_open, late, repeated;
static FILE *waits;

static long id_of(const char *message, const char *end) {
    int length;
    const char *call_id = find(message, end, "Call-ID:", &length);
    long id = call_id ? atol(call_id + 8) : -1;
    return id < started ? id : -1;
}

// Which call an INVITE or CANCEL is of: by the number called, for a B2BUA's Call-ID is its own.
static struct call *call_of(const char *message, const char *end) {
    const char *number = memmem(message, end - message, "sip:+86216", 10);
    long id = number ? atol(number + 10) : -1;
    return id >= 0 && id < started ? &calls[id] : NULL;
}

static void keep(struct call *call, const char *text, int length) {
    free(call->kept);
    call->kept = memcpy(malloc(length + 1), text, length);
    call->kept_length = length;
}

static void put_off(struct queue *queue, long id, double due) {
    calls[id].due = due;
    queue->ids[queue->last++] = id;
}

// How long this INVITE took through the proxy, the first time that something of it comes out.
static void measure_hop(struct call *call, double arrived) {
    if (call->seen || arrived == 0) return;
    call->seen = 1;
    hop_times[hop_count++] = arrived > call->sent ? arrived - call->sent : 0;
    if (waits && arrived - call->sent > LONG) fprintf(waits, "%.6f %.6f\n", call->sent, arrived);
}

// the caller

static const char *via(void) { return tcp ? "SIP/2.0/TCP" : "SIP/2.0/UDP"; }

static void invite(double now) {
    long id = started++;
    const char *number = numbers[id % number_count], *own = callers[id % peer_count]->name;
    put_text(callers[id % peer_count], &proxy,
             "INVITE sip:+86216%07ld@%s;user=phone SIP/2.0\r\nVia: %s %s;branch=z9hG4bK-%d-%ld-i\r\n"
             "Max-Forwards: 68\r\nFrom: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n"
             "To: <sip:+86216%07ld@%s;user=phone>\r\nCall-ID: %ld-%d@127.0.0.1\r\nCSeq: 1 INVITE\r\n"
             "Contact: <sip:trunk1001@%s;transport=%s>\r\nP-Asserted-Identity: <sip:+%s@trunk1001.example.net;user=phone>\r\n"
             "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\nSupported: 100rel, timer, replaces\r\nSession-Expires: 1800\r\n"
             "User-Agent: TrunkPBX/12.4.1 (build 20931)\r\nContent-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s",
             id, proxy_name, via(), own, self, id, number, self, id, id, proxy_name, id, self, own, tcp ? "tcp" : "udp", number,
             sizeof OFFER - 1, OFFER);
    calls[id] = (struct call){.started = now, .sent = realtime(), .state = INVITED};
    if (++open_calls > most_open) most_open = open_calls;
}

static void end_call(long id, int well) {
    struct call *call = &calls[id];
    last_end = seconds();
    free(call->kept);
    call->kept = NULL;
    call->state = OVER;
    open_calls--;
    ++*(well ? &finished : &bad);
}

// CANCEL, or the ACK of a refusal: both of the INVITE's own transaction.
static void put_for_invite(long id, const char *method, const char *to, int to_length) {
    struct port *port = callers[id % peer_count];
    put_text(port, &proxy,
             "%s sip:+86216%07ld@%s;user=phone SIP/2.0\r\nVia: %s %s;branch=z9hG4bK-%d-%ld-i\r\nMax-Forwards: 68\r\n"
             "From: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n%.*s\r\nCall-ID: %ld-%d@127.0.0.1\r\n"
             "CSeq: 1 %s\r\nContent-Length: 0\r\n\r\n",
             method, id, proxy_name, via(), port->name, self, id, numbers[id % number_count], self, id, to_length, to, id, self, method);
}

static void cancel(long id) {
    char to[96];
    int length = snprintf(to, sizeof to, "To: <sip:+86216%07ld@%s;user=phone>", id, proxy_name);
    put_for_invite(id, "CANCEL", to, length);
    calls[id].state = CANCELLING;
}

static void hang_up(long id) {
    calls[id].state = HUNG_UP;
    put(callers[id % peer_count], &proxy, calls[id].kept, calls[id].kept_length);
}

// ACK for the 200, and BYE at once or after the call was held, along the route set (Record-Route turned round).
static void acknowledge_answer(long id, const char *message, const char *end, const char *to, int to_length) {
    const char *record[8], *at = message;
    int length[8], count = 0, size;
    while (count < 8 && (at = find(at, end, "Record-Route:", &size))) {
        record[count] = at + 13;
        length[count++] = size - 13;
        at += size + 2;
    }
    char route[1024] = "", uri[256] = "sip:127.0.0.1", text[MESSAGE];
    int used = 0;
    while (count-- && used + length[count] + 10 < (int)sizeof route) used += sprintf(route + used, "Route:%.*s\r\n", length[count], record[count]);
    const char *contact = find(message, end, "Contact:", &size);
    const char *opening = contact ? memchr(contact, '<', size) : NULL;
    const char *closing = opening ? memchr(opening, '>', size - (opening - contact)) : NULL;
    if (closing && closing - opening < (int)sizeof uri) {
        memcpy(uri, opening + 1, closing - opening - 1);
        uri[closing - opening - 1] = 0;
    }
    struct port *port = callers[id % peer_count];
    for (int hanging_up = 0; hanging_up < 2; hanging_up++) {
        const char *method = hanging_up ? "BYE" : "ACK";
        size = snprintf(text, sizeof text,
                        "%s %s SIP/2.0\r\nVia: %s %s;branch=z9hG4bK-%d-%ld-%c\r\n%sMax-Forwards: 68\r\n"
                        "From: \"Customer 1001\" <sip:+%s@trunk1001.example.net;user=phone>;tag=%dSg%ld\r\n%.*s\r\nCall-ID: %ld-%d@127.0.0.1\r\n"
                        "CSeq: %d %s\r\nContent-Length: 0\r\n\r\n",
                        method, uri, via(), port->name, self, id, hanging_up ? 'b' : 'a', route, numbers[id % number_count], self, id, to_length,
                        to, id, self, hanging_up + 1, method);
        if (!hanging_up) put(port, &proxy, text, size);
    }
    keep(&calls[id], text, size);
    calls[id].state = HELD;
    if (hold > 0) {
        put_off(&holding, id, seconds() + hold);
    } else {
        hang_up(id);
    }
}

static void take_response(const char *message, const char *end, double arrived) {
    int length, to_length;
    const char *to = find(message, end, "To:", &to_length), *cseq = find(message, end, "CSeq:", &length);
    long id = id_of(message, end);
    if (memcmp(message, "SIP/2.0 ", 8) || !to || !cseq || id < 0) {
        unexpected++;
        return;
    }
    int status = atoi(message + 8), of_bye = memmem(cseq, length, "BYE", 3) != NULL;
    struct call *call = &calls[id];
    if (status < 200) {
        if (status == 180 && call->state == INVITED) {
            call->rang = 1;
            if (cancelling) cancel(id);
        }
    } else if (memmem(cseq, length, "CANCEL", 6)) {
        call->cancelled = 1;
        if (call->state == OVER) {
            repeated++;
        } else if (call->refused) {
            end_call(id, status == 200);
        }
    } else if (of_bye ? call->state != HUNG_UP : (call->state != INVITED && call->state != CANCELLING) || call->refused) {
        repeated++;
    } else if (of_bye) {
        end_call(id, status == 200 && call->rang);
    } else {
        double took = seconds() - call->started - ring;
        answer_times[answer_count++] = took;
        if (took > T1) late++;
        if (rejecting) measure_hop(call, arrived);
        if (status >= 300) {
            put_for_invite(id, "ACK", to, to_length);
            call->refused = 1;
            if (!cancelling || status != 487 || call->cancelled) end_call(id, status == (rejecting ? 403 : cancelling ? 487 : 0));
        } else if (rejecting || cancelling) {
            end_call(id, 0);
        } else {
            acknowledge_answer(id, message, end, to, to_length);
        }
    }
}

// the callee

static void answer(long id) {
    struct call *call = &calls[id];
    put_text(call->port, &call->to,
             "SIP/2.0 200 OK\r\n%.*sContact: <sip:%s;transport=%s>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n"
             "Content-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s",
             call->kept_length, call->kept, callee_name, tcp ? "tcp" : "udp", sizeof ANSWER - 1, ANSWER);
}

static void take_request(struct port *port, const struct sockaddr_in *from, const char *message, const char *end, double arrived) {
    int inviting = !memcmp(message, "INVITE ", 7), of_cancel = !memcmp(message, "CANCEL ", 7), to_length;
    if (!memcmp(message, "ACK ", 4)) return;
    const char *to = find(message, end, "To:", &to_length);
    struct call *call = inviting || of_cancel ? call_of(message, end) : NULL;
    if ((!call && memcmp(message, "BYE ", 4)) || !to) {
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
        put_text(port, from, "SIP/2.0 200 OK\r\n%.*sContent-Length: 0\r\n\r\n", size, copied);
        if (of_cancel && call->kept) put_text(port, from, "SIP/2.0 487 Request Terminated\r\n%.*sContent-Length: 0\r\n\r\n", call->kept_length, call->kept);
        return;
    }
    measure_hop(call, arrived);
    put_text(port, from, "SIP/2.0 180 Ringing\r\n%.*sContact: <sip:%s;transport=%s>\r\nContent-Length: 0\r\n\r\n", size, copied, callee_name,
             tcp ? "tcp" : "udp");
    keep(call, copied, size);
    call->port = port;
    call->to = *from;
    if (cancelling) return;
    if (ring > 0) {
        put_off(&ringing, call - calls, seconds() + ring);
        return;
    }
    answer(call - calls);
}

static void take(struct port *port, const struct sockaddr_in *from, const char *message, const char *end, double arrived) {
    if (port->side == CALLER) {
        take_response(message, end, arrived);
    } else {
        take_request(port, from, message, end, arrived);
    }
}

static void do_what_is_due(struct queue *queue, double now, uint8_t state, void (*act)(long)) {
    while (queue->first < queue->last && calls[queue->ids[queue->first]].due <= now) {
        long id = queue->ids[queue->first++];
        if (calls[id].state == state) act(id);
    }
}

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
    const char *names[] = {"load", "transport", "proxy", "caller", "callee", "peers", "rate", "window", "seconds", "ring", "hold", "numbers", "stamps", "waits"};
    const char *values[] = {"call", "udp", "127.0.0.1:5060", "127.0.0.1:7101", "127.0.0.1:5080", "1", "0", "100", "3", "0", "0", "", "0", ""};
    enum { LOAD, TRANSPORT, PROXY, CALLERS, OTHER, PEERS, RATE, WINDOW, SECONDS, RING, HOLD, NUMBERS, STAMPS, WAITS, NAMES };
    for (int word = 1; word < count; word++) {
        int at = 0;
        while (at < NAMES && (strncmp(words[word], names[at], strlen(names[at])) || words[word][strlen(names[at])] != '=')) at++;
        if (at == NAMES) {
            fprintf(stderr, "sipgen: %s? It is read with: load, transport, proxy ... as the head of sipgen.c has them\n", words[word]);
            return 2;
        }
        values[at] = words[word] + strlen(names[at]) + 1;
    }
    rejecting = !strcmp(values[LOAD], "reject");
    cancelling = !strcmp(values[LOAD], "cancel");
    tcp = !strcmp(values[TRANSPORT], "tcp");
    peer_count = atoi(values[PEERS]);
    rate = atof(values[RATE]);
    ring = atof(values[RING]);
    hold = atof(values[HOLD]);
    double length = atof(values[SECONDS]);
    int window = atoi(values[WINDOW]), stamps = atoi(values[STAMPS]);
    if (peer_count < 1 || peer_count > MOST_PORTS / 2) {
        fprintf(stderr, "sipgen: peers=1 to %d\n", MOST_PORTS / 2);
        return 2;
    }
    read_numbers(values[NUMBERS]);
    waits = *values[WAITS] ? fopen(values[WAITS], "w") : NULL;
    self = getpid();
    calls = calloc(MOST_CALLS, sizeof *calls);
    answer_times = malloc(MOST_CALLS * sizeof *answer_times);
    hop_times = malloc(MOST_CALLS * sizeof *hop_times);
    ringing.ids = malloc(MOST_CALLS * sizeof *ringing.ids);
    holding.ids = malloc(MOST_CALLS * sizeof *holding.ids);
    proxy = address(values[PROXY]);
    snprintf(proxy_name, sizeof proxy_name, "%s", values[PROXY]);
    snprintf(callee_name, sizeof callee_name, "%s", values[OTHER]);
    if (tcp) {
        listen_tcp(address(values[OTHER]));
    } else {
        open_udp(CALLEE, address(values[OTHER]), stamps);
    }
    struct sockaddr_in own = address(values[CALLERS]);
    for (int at = 0; at < peer_count; at++, own.sin_addr.s_addr = htonl(ntohl(own.sin_addr.s_addr) + 1)) {
        callers[at] = tcp ? open_tcp(CALLER, own, proxy) : open_udp(CALLER, own, stamps);
    }

    double begin = seconds(), stop = begin + length, over = stop + ring + hold + DRAIN, now;
    last_end = begin;
    while ((now = seconds()) < over && (now < stop || open_calls)) {
        if (now < stop) {
            long wanted = rate > 0 ? (long)((now - begin) * rate) : started + window - open_calls;
            long first = started;
            for (int burst = 0; burst < BATCH && started < wanted && started < MOST_CALLS - 1; burst++) invite(now);
            flush_all();
            for (double left = realtime(); first < started; first++) {
                if (left - calls[first].sent > INTERRUPTED) calls[first].sent = left;
            }
        }
        do_what_is_due(&ringing, now, INVITED, answer);
        do_what_is_due(&holding, now, HELD, hang_up);
        int any = take_all(take);
        flush_all();
        if (!any) wait_for_any(rate > 0 && now < stop ? begin + (started + 1) / rate - seconds() : ring + hold > 0 ? 0.001 : 0.02);
    }

    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    double lasted = last_end > begin ? last_end - begin : length;
    ascend(answer_times, answer_count);
    ascend(hop_times, hop_count);
    printf("{\"started\": %ld, \"ok\": %ld, \"bad\": %ld, \"lost\": %ld, \"late\": %ld, \"seconds\": %.3f, \"each_second\": %.1f, "
           "\"received\": %ld, \"sent\": %ld, \"unexpected\": %ld, \"repeated\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"hop_p50_ms\": %.3f, \"hop_p99_ms\": %.3f, \"hop_p999_ms\": %.3f, \"hop_max_ms\": %.3f, \"most_open\": %ld, \"cpu\": %.3f}\n",
           started, finished, bad, open_calls, late, lasted, finished / lasted, received, sent, unexpected, repeated,
           quantile_ms(answer_times, answer_count, 0.5), quantile_ms(answer_times, answer_count, 0.99), quantile_ms(hop_times, hop_count, 0.5),
           quantile_ms(hop_times, hop_count, 0.99), quantile_ms(hop_times, hop_count, 0.999), quantile_ms(hop_times, hop_count, 1), most_open, cpu);
    return 0;
}
