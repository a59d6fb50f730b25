# cython: language_level=3, boundscheck=True, wraparound=False, embedsignature=True
"""The compiled kernel: one pass over a message for its header index, one over what every request needs of it, one to write it with its
edits; and the keyed hash of what we put into messages.

Only what is ordinary is read here. For everything else, and for every message with a fault, the answer is None, and the Python that
called (proxy.sip.message, proxy.validate) reads it itself: what is accepted, refused and said about it stands there, and only there.
Every pointer stays between the beginning of a bytes object and the NUL behind its end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_Append
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef enum:
    SLOTS = 2048  # a power of two, several times as many as there are names
    FIELDS = 192
    LONGEST_NAME = 40
    LONGEST_KEY = 500  # less than what transaction_key hashes

cdef enum:
    IN_TOKEN = 1
    IN_URI = 2
    IN_NAME = 4  # of a parameter, in lower case: a token that is as split_params gives it back
    IN_VALUE = 8  # of a parameter, not quoted

cdef unsigned char KIND[256]


cdef void set_kinds(bytes characters, unsigned char kind):
    cdef unsigned char c
    for c in characters:
        KIND[c] |= kind


cdef bytes ALNUM = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
cdef bytes TOKEN = ALNUM + b"-.!%*_+`'~"
set_kinds(TOKEN, IN_TOKEN)
set_kinds(ALNUM + b"-_.!~*'()%&=+$,;?/:@[]", IN_URI)
set_kinds(bytes([c for c in TOKEN if not 0x41 <= c <= 0x5A]), IN_NAME)
set_kinds(bytes([c for c in range(0x21, 0x7F) if c not in b'";,']), IN_VALUE)


cdef inline bytes cut(const char *start, const char *end):
    return PyBytes_FromStringAndSize(start, end - start)


cdef inline bint all_of(const char *at, const char *end, unsigned char kind) noexcept nogil:
    """Whether each octet is of this kind; True of none."""
    while at < end:
        if not KIND[<unsigned char>at[0]] & kind:
            return False
        at += 1
    return True


cdef inline long digits(const char *at, const char *end) noexcept nogil:
    """The value of one to nine digits, -1 for anything else."""
    cdef long value = 0
    if not 0 < end - at < 10:
        return -1
    while at < end:
        if not 48 <= at[0] <= 57:
            return -1
        value = value * 10 + (at[0] - 48)
        at += 1
    return value


cdef extern from *:
    """
    /* With room for so many: growing to the fields of a message takes as long as putting them in. */
    #if PY_VERSION_HEX < 0x030D0000
    #define new_dict(size) _PyDict_NewPresized(size)
    #else
    #define new_dict(size) PyDict_New()
    #endif
    """
    dict new_dict(Py_ssize_t size)

cdef struct Name:
    const char *text
    Py_ssize_t size
    int field


cdef class Scanner:
    """Reads whole messages. `known` maps names as they are written to canonical names; `learn(line)` is asked for others and raises where
    there is none; `single` are the canonical names that may stand in a message once; `methods` those of ordinary requests.
    """

    cdef dict known
    cdef object learn
    cdef frozenset single
    cdef list kept  # what the pointers in `names` point into
    cdef Name names[SLOTS]
    cdef PyObject *keys[FIELDS]
    cdef bint once[FIELDS]
    cdef int fields
    cdef dict numbers
    cdef list methods
    cdef int content_length, via, sender, to, call_id, cseq, privacy
    cdef Py_ssize_t max_message, max_head, max_lines

    def __init__(
        self, dict known not None, object learn, frozenset single not None, frozenset methods not None, Py_ssize_t max_message, Py_ssize_t max_head, Py_ssize_t max_lines
    ):
        cdef bytes name, key
        if None in known or None in known.values() or None in methods:
            raise TypeError("names are octets")
        self.known = known
        self.learn = learn
        self.single = single
        self.kept = []
        self.numbers = {}
        self.methods = sorted(methods)
        self.max_message = max_message
        self.max_head = max_head
        self.max_lines = max_lines
        self.fields = 0
        for name, key in known.items():
            if key not in self.numbers:
                if self.fields >= FIELDS:
                    raise ValueError("too many header fields")
                self.kept.append(key)
                self.keys[self.fields] = <PyObject *>key
                self.once[self.fields] = key in single
                self.numbers[key] = self.fields
                self.fields += 1
            if len(name) > LONGEST_NAME or len(name) < 1 or len(self.kept) >= SLOTS // 2:
                raise ValueError("a header field's name is too long, or there are too many")
            self.kept.append(name)
            self.enter(PyBytes_AS_STRING(name), len(name), self.numbers[key])
        self.content_length = self.numbers[b"content-length"]
        self.via = self.numbers[b"via"]
        self.sender = self.numbers[b"from"]
        self.to = self.numbers[b"to"]
        self.call_id = self.numbers[b"call-id"]
        self.cseq = self.numbers[b"cseq"]
        self.privacy = self.numbers[b"privacy"]

    cdef inline unsigned int place(self, const char *text, Py_ssize_t size) noexcept nogil:
        cdef unsigned int hashed = <unsigned int>size
        cdef Py_ssize_t at
        for at in range(size):
            hashed = (hashed ^ <unsigned char>text[at]) * 16777619
        return (hashed ^ (hashed >> 15)) & (SLOTS - 1)

    cdef void enter(self, const char *text, Py_ssize_t size, int field):
        cdef unsigned int at = self.place(text, size)
        while self.names[at].text != NULL:
            at = (at + 1) & (SLOTS - 1)
        self.names[at].text = text
        self.names[at].size = size
        self.names[at].field = field

    cdef inline int find(self, const char *text, Py_ssize_t size) noexcept nogil:
        """The number of the field that is written so, -1 where it is not among the known ones."""
        cdef unsigned int at
        if size > LONGEST_NAME:
            return -1
        at = self.place(text, size)
        while self.names[at].text != NULL:
            if self.names[at].size == size and memcmp(self.names[at].text, text, size) == 0:
                return self.names[at].field
            at = (at + 1) & (SLOTS - 1)
        return -1

    def scan(self, bytes raw not None):
        """One ordinary message: (raw, lines, body, first line of each field, lines of repeated ones, method, uri, status, phrase)."""
        cdef const char *start = PyBytes_AS_STRING(raw)
        cdef const char *end = start + PyBytes_GET_SIZE(raw)
        cdef const char *at = start
        cdef const char *stop
        cdef const char *colon
        cdef const char *value
        cdef Py_ssize_t number = 0, size
        cdef long length = -1
        cdef int field
        cdef bint seen[FIELDS]
        cdef bytes line, written, method = b"", uri = b"", phrase = b"", body
        cdef int status = 0
        cdef list lines = [], places
        cdef dict first, more = None
        cdef PyObject *found
        cdef object key, place

        if end - start > self.max_message:
            return None
        first = new_dict(20 if end - start > 600 else 10)
        for field in range(self.fields):
            seen[field] = False
        while True:
            stop = <const char *>memchr(at, 10, end - at)
            if stop == NULL or stop == start or (stop - 1)[0] != 13:
                return None
            stop -= 1  # at its CR
            if memchr(at, 13, stop - at) != NULL:
                return None
            if stop == at:  # the empty line
                if number == 0:
                    return None
                at += 2
                break
            if number > self.max_lines or stop - start > self.max_head:
                return None
            line = cut(at, stop)
            PyList_Append(lines, line)
            if number == 0:
                if stop - at >= 11 and memcmp(at, b"SIP/2.0 ", 8) == 0:
                    if (stop - at > 11 and at[11] != 32) or digits(at + 8, at + 11) < 100 or digits(at + 8, at + 11) > 699:
                        return None
                    status = <int>digits(at + 8, at + 11)
                    phrase = cut(at + 12, stop) if stop - at > 12 else b""
                else:
                    value = <const char *>memchr(at, 32, stop - at)
                    if value == NULL:
                        return None
                    method = self.method(at, value - at)
                    if method is None:
                        return None
                    colon = <const char *>memchr(value + 1, 32, stop - value - 1)
                    if colon == NULL or colon == value + 1 or stop - colon != 8 or memcmp(colon, b" SIP/2.0", 8) != 0:
                        return None
                    uri = cut(value + 1, colon)
                number = 1
                at = stop + 2
                continue
            if at[0] == 32 or at[0] == 9:  # folded
                return None
            colon = <const char *>memchr(at, 58, stop - at)
            if colon == NULL:
                return None
            field = self.find(at, colon - at)
            place = number
            if field >= 0:
                key = <object>self.keys[field]
            else:
                written = cut(at, colon)
                found = PyDict_GetItemWithError(self.known, written)
                if found != NULL:
                    key = <object>found
                else:
                    try:
                        key = self.learn(line)
                    except Exception:
                        return None
                found = PyDict_GetItemWithError(self.numbers, key)
                if found != NULL:
                    field = <object>found
            if field >= 0 and not seen[field]:
                seen[field] = True
                PyDict_SetItem(first, key, place)
            elif field >= 0 and self.once[field]:
                return None
            else:
                found = PyDict_GetItemWithError(first, key)
                if found == NULL:
                    PyDict_SetItem(first, key, place)
                else:
                    if key in self.single:
                        return None
                    if more is None:
                        more = {}
                    places = more.get(key)
                    if places is None:
                        more[key] = [<object>found, place]
                    else:
                        places.append(place)
            if field == self.content_length:
                value = colon + 1
                size = stop - value
                while size > 0 and (value[0] == 32 or value[0] == 9):
                    value += 1
                    size -= 1
                while size > 0 and (value[size - 1] == 32 or value[size - 1] == 9):
                    size -= 1
                length = digits(value, value + size)
                if length < 0:
                    return None
            number += 1
            at = stop + 2
        if at - start > self.max_head:
            return None
        if length < 0:
            body = cut(at, end)
        elif length > end - at:
            return None
        else:
            body = cut(at, at + length)
            if at + length < end:
                raw = cut(start, at + length)  # what follows in the datagram is not ours to pass on (RFC 3261 §18.3)
        return raw, lines, body, first, more, method, uri, status, phrase

    cdef bytes method(self, const char *text, Py_ssize_t size):
        """A method's name as one of those that are kept, None for an unusual one."""
        cdef bytes name
        for name in self.methods:
            if PyBytes_GET_SIZE(name) == size and memcmp(PyBytes_AS_STRING(name), text, size) == 0:
                return name
        return None


cdef struct Span:
    const char *start
    const char *end


cdef inline Py_ssize_t length(Span span) noexcept nogil:
    return span.end - span.start


cdef inline bytes octets(Span span):
    return PyBytes_FromStringAndSize(span.start, span.end - span.start)


cdef inline bint begins(Span span, const char *text, Py_ssize_t size) noexcept nogil:
    return span.end - span.start >= size and memcmp(span.start, text, size) == 0


cdef inline const char *seek(const char *at, const char *end, char wanted) noexcept nogil:
    """The first octet that is `wanted`, `end` without one."""
    cdef const char *found = <const char *>memchr(at, wanted, end - at) if at < end else NULL
    return end if found == NULL else found


cdef inline bint blank(char c) noexcept nogil:
    """What bytes.strip() takes away."""
    return c == 32 or 9 <= c <= 13


cdef inline Span stripped(Span span) noexcept nogil:
    while span.start < span.end and blank(span.start[0]):
        span.start += 1
    while span.start < span.end and blank((span.end - 1)[0]):
        span.end -= 1
    return span


cdef int value_at(list lines, dict first, bytes name, Span *value) except -2:
    """The value of the first line of a field: 1 when it is there, 0 when the field is not, -1 where it has to be unfolded."""
    cdef PyObject *at = PyDict_GetItemWithError(first, name)
    cdef bytes line
    if at == NULL:
        return 0
    line = lines[<Py_ssize_t><object>at]
    if line is None:
        raise TypeError("a line is octets")
    value.start = PyBytes_AS_STRING(line)
    value.end = value.start + PyBytes_GET_SIZE(line)
    if seek(value.start, value.end, 13) != value.end:
        return -1
    value.start = seek(value.start, value.end, 58)
    if value.start < value.end:
        value.start += 1
    value[0] = stripped(value[0])
    return 1


cdef bint party(Span value, Span *uri, Span *tag) noexcept nogil:
    """From or To in its ordinary forms: [display] <uri> [;tag=token]. False for any other."""
    cdef const char *opening = seek(value.start, value.end, 60)
    cdef const char *closing
    cdef const char *at
    cdef Span display
    if opening == value.end:
        return False
    closing = seek(opening, value.end, 62)
    if closing == value.end:
        return False
    uri.start = opening + 1
    uri.end = closing
    if length(uri[0]) < 5 or not (begins(uri[0], b"sip:", 4) or begins(uri[0], b"tel:", 4)):
        return False
    if not all_of(uri.start, uri.end, IN_URI):
        return False
    display.start = value.start
    display.end = opening
    display = stripped(display)
    if display.start < display.end and display.start[0] == 34:
        if length(display) < 2 or seek(display.start + 1, display.end, 34) != display.end - 1:
            return False
        if seek(display.start, display.end, 92) != display.end:
            return False
    else:
        at = display.start
        while at < display.end:
            if not (KIND[<unsigned char>at[0]] & IN_TOKEN or at[0] == 32 or at[0] == 9):
                return False
            at += 1
    tag.start = closing + 1
    tag.end = value.end
    if tag.start < tag.end:
        if not begins(tag[0], b";tag=", 5):
            return False
        tag.start += 5
        return tag.start < tag.end and all_of(tag.start, tag.end, IN_TOKEN)
    return True


cdef bint plain(Span value) noexcept nogil:
    """Whether an address is `<uri>` and nothing else."""
    cdef const char *last = value.end - 1
    cdef const char *at
    cdef bint colon = False
    if length(value) <= 6 or value.start[0] != 60 or last[0] != 62:
        return False
    at = value.start + 1
    while at < last:
        if at[0] == 60 or at[0] == 62 or at[0] == 32 or at[0] == 44 or at[0] == 34:
            return False
        colon |= at[0] == 58
        at += 1
    return colon


cdef class Vias:
    """Takes Via values apart. `hosts` are what `split_host` has taken apart before."""

    cdef dict hosts
    cdef object split_host

    def __init__(self, dict hosts not None, object split_host):
        self.hosts = hosts
        self.split_host = split_host

    def read(self, bytes value not None):
        """One ordinary Via value: (transport, sent-by, host, port, branch, rport, received)."""
        cdef Span span
        span.start = PyBytes_AS_STRING(value)
        span.end = span.start + PyBytes_GET_SIZE(value)
        return self.parts(span)

    cdef tuple parts(self, Span value):
        cdef Span head, part, name, text
        cdef bytes sent_by, branch = None, rport = None, received = None
        cdef PyObject *found
        cdef tuple place
        cdef const char *at
        head.start = value.start
        head.end = seek(value.start, value.end, 59)
        if length(head) < 13 or memcmp(head.start, b"SIP/2.0/", 8) != 0 or head.start[11] != 32:
            return None
        if memcmp(head.start + 8, b"UDP", 3) != 0 and memcmp(head.start + 8, b"TCP", 3) != 0 and memcmp(head.start + 8, b"TLS", 3) != 0:
            return None
        sent_by = cut(head.start + 12, head.end)
        found = PyDict_GetItemWithError(self.hosts, sent_by)
        if found != NULL:
            place = <object>found
        else:
            try:
                place = self.split_host(sent_by, "Via")
            except Exception:
                return None
        at = head.end
        while at < value.end:  # at a semicolon
            part.start = at + 1
            part.end = at = seek(at + 1, value.end, 59)
            name.start = part.start
            name.end = seek(part.start, part.end, 61)
            if length(name) == 0 or not all_of(name.start, name.end, IN_NAME):
                return None
            text.start = name.end + 1 if name.end < part.end else part.end
            text.end = part.end
            if (name.end < part.end and length(text) == 0) or not all_of(text.start, text.end, IN_VALUE):
                return None
            if length(name) == 6 and memcmp(name.start, b"branch", 6) == 0:
                if branch is not None or name.end == part.end:
                    return None
                branch = octets(text)
            elif length(name) == 5 and memcmp(name.start, b"rport", 5) == 0:
                rport = octets(text)
            elif length(name) == 8 and memcmp(name.start, b"received", 8) == 0:
                if name.end == part.end:
                    return None
                received = octets(text)
        return cut(head.start + 8, head.start + 11), sent_by, place[0], place[1], branch, rport, received


cdef class Requests:
    """Reads what every request is asked for. `vias` takes its Via apart, `addresses` are the fields whose values must be addresses."""

    cdef Vias vias
    cdef tuple addresses

    def __init__(self, Vias vias not None, tuple addresses not None):
        self.vias = vias
        self.addresses = addresses

    def read(self, list lines not None, dict first not None, dict more, bytes method not None, bytes address not None):
        """An ordinary request: (top Via's value, its parts, Call-ID, CSeq digits, From's URI and tag, To's URI and tag, Max-Forwards or
        None, transaction key, whether the fields that we do not use ourselves are plain).
        """
        cdef Span via, call_id, cseq, sender, to, hops, uri, tag, to_uri, to_tag
        cdef tuple parts
        cdef bytes branch, sent_by, kind
        cdef const char *at
        cdef const char *end
        cdef long limit = -1
        cdef int there
        if value_at(lines, first, b"via", &via) != 1 or length(via) == 0 or seek(via.start, via.end, 44) != via.end:
            return None
        parts = self.vias.parts(via)
        if parts is None:
            return None
        if value_at(lines, first, b"call-id", &call_id) != 1 or length(call_id) == 0:
            return None
        if value_at(lines, first, b"cseq", &cseq) != 1:
            return None
        at = seek(cseq.start, cseq.end, 32)
        if cseq.end - at - 1 != PyBytes_GET_SIZE(method) or memcmp(at + 1, PyBytes_AS_STRING(method), PyBytes_GET_SIZE(method)) != 0:
            return None
        if digits(cseq.start, at) < 0:
            return None
        while at - cseq.start > 1 and cseq.start[0] == 48:
            cseq.start += 1
        cseq.end = at
        if value_at(lines, first, b"from", &sender) != 1 or not party(sender, &uri, &tag):
            return None
        if value_at(lines, first, b"to", &to) != 1 or not party(to, &to_uri, &to_tag):
            return None
        there = value_at(lines, first, b"max-forwards", &hops)
        if there < 0:
            return None
        if there:
            limit = digits(hops.start, hops.end)
            if not 0 <= limit <= 255:
                return None
        branch = parts[4]
        sent_by = parts[1]
        if branch is None or not (PyBytes_GET_SIZE(branch) > 7 and memcmp(PyBytes_AS_STRING(branch), b"z9hG4bK", 7) == 0):
            return None
        if PyBytes_GET_SIZE(branch) + PyBytes_GET_SIZE(sent_by) + PyBytes_GET_SIZE(address) + PyBytes_GET_SIZE(method) > LONGEST_KEY:
            return None
        kind = b"INVITE" if method == b"ACK" or method == b"CANCEL" else method
        return (
            octets(via),
            parts,
            octets(call_id),
            octets(cseq),
            octets(uri),
            octets(tag),
            octets(to_uri),
            octets(to_tag),
            limit if there else None,
            joined(branch, sent_by, address, kind),
            self.rest_is_plain(lines, first, more),
        )

    cdef bint rest_is_plain(self, list lines, dict first, dict more) except -1:
        cdef bytes name
        cdef Span value
        cdef int there
        if more is not None or PyDict_GetItemWithError(first, b"date") != NULL or PyDict_GetItemWithError(first, b"expires") != NULL:
            return False
        for name in self.addresses:
            there = value_at(lines, first, name, &value)
            if there and (there < 0 or not plain(value)):
                return False
        return True


cdef bytes joined(bytes branch, bytes sent_by, bytes address, bytes kind):
    """b" ".join of the four."""
    cdef Py_ssize_t a = PyBytes_GET_SIZE(branch), b = PyBytes_GET_SIZE(sent_by), c = PyBytes_GET_SIZE(address), d = PyBytes_GET_SIZE(kind)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, a + b + c + d + 3)
    cdef char *at = PyBytes_AS_STRING(made)
    memcpy(at, PyBytes_AS_STRING(branch), a)
    at[a] = 32
    at += a + 1
    memcpy(at, PyBytes_AS_STRING(sent_by), b)
    at[b] = 32
    at += b + 1
    memcpy(at, PyBytes_AS_STRING(address), c)
    at[c] = 32
    memcpy(at + c + 1, PyBytes_AS_STRING(kind), d)
    return made


def read_uri(bytes text not None):
    """An ordinary SIP or tel URI: (scheme, user or None, host, port, parameter tail)."""
    cdef Span whole, rest, user, host, params
    cdef const char *at
    cdef const char *colon
    cdef long port = -1
    whole.start = PyBytes_AS_STRING(text)
    whole.end = whole.start + PyBytes_GET_SIZE(text)
    if length(whole) < 5 or not all_of(whole.start, whole.end, IN_URI) or seek(whole.start, whole.end, 37) != whole.end:
        return None
    rest.start = whole.start + 4
    rest.end = whole.end
    if memcmp(whole.start, b"tel:", 4) == 0:
        params.start = seek(rest.start, rest.end, 59)
        params.end = rest.end
        if params.start == rest.start or seek(rest.start, rest.end, 64) != rest.end or seek(rest.start, rest.end, 63) != rest.end:
            return None
        return b"tel", cut(rest.start, params.start), b"", None, octets(params)
    if memcmp(whole.start, b"sip:", 4) != 0:
        return None
    at = seek(rest.start, rest.end, 64)
    user.start = rest.start
    user.end = at
    host.start = rest.start
    if at < rest.end:
        if length(user) == 0 or user.start[0] == 58 or seek(at + 1, rest.end, 64) != rest.end:
            return None
        if seek(user.start, user.end, 91) != user.end or seek(user.start, user.end, 93) != user.end:
            return None
        host.start = at + 1
    if seek(host.start, rest.end, 63) != rest.end:
        return None
    params.start = seek(host.start, rest.end, 59)
    params.end = rest.end
    host.end = params.start
    colon = seek(host.start, host.end, 58)
    if colon < host.end:
        port = digits(colon + 1, host.end)
        if not 0 <= port <= 65535 or host.end - colon > 6:
            return None
        host.end = colon
    if length(host) == 0:
        return None
    colon = host.start
    while colon < host.end:
        # a name in lower case or an IPv4 address: brackets and capitals are read elsewhere
        if not (97 <= colon[0] <= 122 or 48 <= colon[0] <= 57 or colon[0] == 45 or colon[0] == 46 or colon[0] == 95):
            return None
        colon += 1
    if length(params) > 0:
        if (params.end - 1)[0] == 59:
            return None
        colon = params.start
        while colon + 1 < params.end:
            if colon[0] == 59 and colon[1] == 59:
                return None
            colon += 1
    return b"sip", octets(user) if at < rest.end else None, octets(host), port if port >= 0 else None, octets(params)


def ack_key(bytes data not None, bytes address not None):
    """As proxy.sip.transaction has it."""
    cdef const char *end = PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)
    cdef const char *at = seek(PyBytes_AS_STRING(data), end, 10) + 1
    cdef const char *stop
    cdef const char *first
    cdef Span branch, sent_by
    if end - at < 17 or memcmp(at, b"Via: SIP/2.0/UDP ", 17) != 0:
        return None
    stop = seek(at, end, 13)
    first = seek(at, stop, 59)
    if stop == end or stop - first < 8 or memcmp(first, b";branch=", 8) != 0:
        return None
    sent_by.start = at + 17
    sent_by.end = first
    branch.start = first + 8
    branch.end = seek(first + 8, stop, 59)
    return joined(octets(branch), octets(sent_by), address, b"INVITE")


def only_uri(bytes line not None):
    """As proxy.intake has it."""
    cdef const char *start = PyBytes_AS_STRING(line)
    cdef const char *end = start + PyBytes_GET_SIZE(line)
    cdef const char *at = seek(start, end, 58)
    if end - at < 5 or at[1] != 32 or at[2] != 60 or (end - 1)[0] != 62:
        return None
    at += 3
    if seek(at, end, 62) != end - 1 or seek(at, end, 60) != end or seek(start, end, 44) != end or seek(start, end, 13) != end:
        return None
    return cut(at, end - 1)


def has_no_verstat(bytes line not None):
    """As proxy.sip.caller has it."""
    cdef const char *at = PyBytes_AS_STRING(line)
    cdef const char *end = at + PyBytes_GET_SIZE(line)
    cdef int letter
    if seek(at, end, 37) != end:
        return False
    while end - at >= 6:
        letter = 0
        while letter < 6 and (at[letter] | 32) == ERSTAT[letter]:
            letter += 1
        if letter == 6:
            return False
        at += 1
    return True


cdef const char *ERSTAT = b"erstat"


def behind_user(bytes line not None, bytes parameter not None):
    """As proxy.sip.caller has it."""
    cdef const char *start = PyBytes_AS_STRING(line)
    cdef const char *end = start + PyBytes_GET_SIZE(line)
    cdef const char *opening = seek(start, end, 60)
    cdef const char *at = seek(start, end, 64)
    cdef const char *closing = seek(start, end, 62)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(parameter)
    cdef bytes made
    cdef char *to
    if at == end or closing == end or closing < at + 11 or opening == start or at - opening < 5 or memcmp(opening, b"<sip:", 5) != 0:
        return None
    if memcmp(closing - 11, b";user=phone", 11) != 0 or seek(at + 1, end, 64) != end or seek(opening + 1, end, 60) != end:
        return None
    made = PyBytes_FromStringAndSize(NULL, end - start + size)
    to = PyBytes_AS_STRING(made)
    memcpy(to, start, at - start)
    memcpy(to + (at - start), PyBytes_AS_STRING(parameter), size)
    memcpy(to + (at - start) + size, at, end - at)
    return made


def splice(list lines not None, dict replaced, bytes start, list top, bytes last, bytes body not None):
    """A message of these header lines: `replaced` has other lines, and None, for some; `start` is another start line, `top` stands above all
    header lines, `last` below them.
    """
    cdef list kept = lines[:]
    cdef Py_ssize_t at, size
    cdef bytes made
    cdef char *end
    cdef object line
    if replaced is not None:
        for place, line in replaced.items():
            at = place
            if at < 0:
                raise IndexError("a line's place")
            kept[at] = line
    if start is not None:
        kept[0] = start
    size = 2 + PyBytes_GET_SIZE(body) + written(kept) + (written(top) if top is not None else 0)
    if last is not None:
        size += PyBytes_GET_SIZE(last) + 2
    made = PyBytes_FromStringAndSize(NULL, size)
    end = put(PyBytes_AS_STRING(made), kept, 0, 1)
    if top is not None:
        end = put(end, top, 0, len(top))
    end = put(end, kept, 1, len(kept))
    if last is not None:
        end = put_line(end, last)
    memcpy(end, b"\r\n", 2)
    memcpy(end + 2, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
    return made


cdef Py_ssize_t written(list lines) except -1:
    """Octets of lines with their line breaks; None is no line. TypeError for what is neither."""
    cdef Py_ssize_t size = 0
    cdef object line
    for line in lines:
        if type(line) is bytes:
            size += PyBytes_GET_SIZE(line) + 2
        elif line is not None:
            raise TypeError("a line is octets")
    return size


cdef char *put(char *to, list lines, Py_ssize_t begin, Py_ssize_t end) except NULL:
    cdef Py_ssize_t at
    for at in range(begin, min(end, len(lines))):
        line = lines[at]
        if line is not None:
            to = put_line(to, <bytes>line)
    return to


cdef inline char *put_line(char *to, bytes line):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line)
    memcpy(to, PyBytes_AS_STRING(line), size)
    to[size] = 13
    to[size + 1] = 10
    return to + size + 2


# BLAKE2b (RFC 7693), keyed, of one text. Python's own has the same values; making its object and asking it takes three times as long as the
# hash of so few octets.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint64_t BLAKE2B_IV[8] = {
        0x6A09E667F3BCC908ULL, 0xBB67AE8584CAA73BULL, 0x3C6EF372FE94F82BULL, 0xA54FF53A5F1D36F1ULL,
        0x510E527FADE682D1ULL, 0x9B05688C2B3E6C1FULL, 0x1F83D9ABFB41BD6BULL, 0x5BE0CD19137E2179ULL};

    static const uint8_t BLAKE2B_SIGMA[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

    #define BLAKE2B_ROT(x, n) (((x) >> (n)) | ((x) << (64 - (n))))
    #define BLAKE2B_G(a, b, c, d, x, y) \
        v[a] += v[b] + m[x]; v[d] = BLAKE2B_ROT(v[d] ^ v[a], 32); v[c] += v[d]; v[b] = BLAKE2B_ROT(v[b] ^ v[c], 24); \
        v[a] += v[b] + m[y]; v[d] = BLAKE2B_ROT(v[d] ^ v[a], 16); v[c] += v[d]; v[b] = BLAKE2B_ROT(v[b] ^ v[c], 63);

    /* One block of 128 octets; `count`: octets up to its end; `last`: whether none follows. */
    static void blake2b_block(uint64_t *h, const unsigned char *block, uint64_t count, int last)
    {
        uint64_t v[16], m[16];
        int at, octet;
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        (void)octet;
        memcpy(m, block, sizeof m);
    #else
        for (at = 0; at < 16; at++) {
            m[at] = 0;
            for (octet = 7; octet >= 0; octet--)
                m[at] = m[at] << 8 | block[8 * at + octet];
        }
    #endif
        for (at = 0; at < 8; at++) {
            v[at] = h[at];
            v[at + 8] = BLAKE2B_IV[at];
        }
        v[12] ^= count;
        if (last)
            v[14] = ~v[14];
        for (at = 0; at < 12; at++) {
            const uint8_t *s = BLAKE2B_SIGMA[at];
            BLAKE2B_G(0, 4, 8, 12, s[0], s[1]) BLAKE2B_G(1, 5, 9, 13, s[2], s[3])
            BLAKE2B_G(2, 6, 10, 14, s[4], s[5]) BLAKE2B_G(3, 7, 11, 15, s[6], s[7])
            BLAKE2B_G(0, 5, 10, 15, s[8], s[9]) BLAKE2B_G(1, 6, 11, 12, s[10], s[11])
            BLAKE2B_G(2, 7, 8, 13, s[12], s[13]) BLAKE2B_G(3, 4, 9, 14, s[14], s[15])
        }
        for (at = 0; at < 8; at++)
            h[at] ^= v[at] ^ v[at + 8];
    }

    static void blake2b_start(uint64_t *h, int key, int size)
    {
        memcpy(h, BLAKE2B_IV, sizeof BLAKE2B_IV);
        h[0] ^= 0x01010000 ^ key << 8 ^ size;
    }
    """
    void blake2b_start(uint64_t *h, int key, int size) nogil
    void blake2b_block(uint64_t *h, const unsigned char *block, uint64_t count, int last) nogil

cdef enum:
    BLOCK = 128
    LARGEST = 64


cdef class Keyed:
    """`hashlib.blake2b(text, key=key, digest_size=size).hexdigest()` of many texts, as octets."""

    cdef uint64_t begun[8]  # the key's block is worked in once
    cdef unsigned char key[BLOCK]
    cdef int key_size, size

    def __init__(self, bytes key not None, int size):
        if not 1 <= size <= LARGEST or not 1 <= PyBytes_GET_SIZE(key) <= LARGEST:
            raise ValueError("a key and a digest have 1 to 64 octets")
        self.size = size
        self.key_size = <int>PyBytes_GET_SIZE(key)
        memset(self.key, 0, BLOCK)
        memcpy(self.key, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        blake2b_start(self.begun, self.key_size, size)
        blake2b_block(self.begun, self.key, BLOCK, False)

    def hex(self, bytes text not None):
        """The digest of a text, in hex digits."""
        cdef uint64_t h[8]
        cdef unsigned char block[BLOCK]
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(text)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(text)
        cdef uint64_t count = BLOCK
        cdef bytes made
        cdef char *to
        cdef int octet
        if left == 0:
            blake2b_start(h, self.key_size, self.size)
            blake2b_block(h, self.key, BLOCK, True)
        else:
            memcpy(h, self.begun, sizeof(h))
            while left > BLOCK:
                count += BLOCK
                blake2b_block(h, at, count, False)
                at += BLOCK
                left -= BLOCK
            memset(block, 0, BLOCK)
            memcpy(block, at, left)
            blake2b_block(h, block, count + left, True)
        made = PyBytes_FromStringAndSize(NULL, 2 * self.size)
        to = PyBytes_AS_STRING(made)
        for octet in range(self.size):
            to[2 * octet] = HEX[(h[octet >> 3] >> (8 * (octet & 7) + 4)) & 15]
            to[2 * octet + 1] = HEX[(h[octet >> 3] >> (8 * (octet & 7))) & 15]
        return made


cdef const char *HEX = b"0123456789abcdef"


def read_reply(Scanner scanner not None, bytes raw not None, bytes start not None):
    """An ordinary provisional or 2xx response to what we sent: (status, branch, CSeq's method, the bytes that go on, where From begins in
    them or -1).

    Its first header line is our Via, `start` and the branch behind it; there is another Via line, and no Privacy.
    """
    cdef const char *begin = PyBytes_AS_STRING(raw)
    cdef const char *end = begin + PyBytes_GET_SIZE(raw)
    cdef const char *at = begin
    cdef const char *stop
    cdef const char *colon
    cdef const char *behind = NULL  # the line of our Via
    cdef const char *sender = NULL
    cdef Py_ssize_t number = 0, size = PyBytes_GET_SIZE(start), gone
    cdef long status = 0, length = -1
    cdef int field, vias = 0
    cdef bint seen[FIELDS]
    cdef bint to = False, call_id = False
    cdef Span value, branch
    cdef bytes method = None, onward
    cdef char *made

    if end - begin > scanner.max_message or end - begin < 12 or memcmp(begin, b"SIP/2.0 ", 8) != 0:
        return None
    status = digits(begin + 8, begin + 11)
    if not 100 <= status < 300 or (begin[11] != 32 and begin[11] != 13):
        return None
    memset(seen, 0, sizeof(seen))
    while True:
        stop = <const char *>memchr(at, 10, end - at)
        if stop == NULL or stop == begin or (stop - 1)[0] != 13:
            return None
        stop -= 1  # at its CR
        if memchr(at, 13, stop - at) != NULL:
            return None
        if stop == at:  # the empty line
            at += 2
            break
        if number > scanner.max_lines or stop - begin > scanner.max_head:
            return None
        if number == 1:
            if stop - at <= size or memcmp(at, PyBytes_AS_STRING(start), size) != 0 or memchr(at, 44, stop - at) != NULL:
                return None
            branch.start = at + size
            branch.end = stop
            behind = stop + 2
            vias = 1
        elif number > 1:
            if at[0] == 32 or at[0] == 9:  # folded
                return None
            colon = <const char *>memchr(at, 58, stop - at)
            if colon == NULL:
                return None
            field = scanner.find(at, colon - at)
            if field < 0:
                if colon - at < 3 or (at[0] | 32) != 120 or at[1] != 45 or not all_of(at, colon, IN_TOKEN):  # X-...: nobody acts on it
                    return None
            elif field == scanner.via:
                vias += 1
            elif seen[field] and scanner.once[field]:
                return None
            else:
                seen[field] = True
                value.start = colon + 1
                value.end = stop
                if field == scanner.content_length:
                    while value.start < value.end and (value.start[0] == 32 or value.start[0] == 9):
                        value.start += 1
                    while value.end > value.start and ((value.end - 1)[0] == 32 or (value.end - 1)[0] == 9):
                        value.end -= 1
                    length = digits(value.start, value.end)
                    if length < 0:
                        return None
                elif field == scanner.sender:
                    sender = at
                elif field == scanner.to:
                    to = True
                elif field == scanner.call_id:
                    call_id = True
                elif field == scanner.privacy:
                    return None
                elif field == scanner.cseq:
                    if not begins(value, b" ", 1) or colon - at != 4 or memcmp(at, b"CSeq", 4) != 0:
                        return None
                    value.start = seek(value.start + 1, value.end, 32)
                    if digits(colon + 2, value.start) < 0 or value.start == value.end:
                        return None
                    method = scanner.method(value.start + 1, value.end - value.start - 1)
                    if method is None:
                        return None
        number += 1
        at = stop + 2
    if at - begin > scanner.max_head or vias < 2 or not to or not call_id or method is None or length < 0 or length > end - at:
        return None
    gone = behind - (branch.start - size)
    onward = PyBytes_FromStringAndSize(NULL, at + length - begin - gone)
    made = PyBytes_AS_STRING(onward)
    memcpy(made, begin, behind - gone - begin)
    memcpy(made + (behind - gone - begin), behind, at + length - behind)
    return status, octets(branch), method, onward, (sender - begin - gone) if sender != NULL else -1


def holds(bytes text not None, bytes wanted not None):
    """`wanted in text`, which must not be empty."""
    cdef const char *at = PyBytes_AS_STRING(text)
    cdef const char *end = at + PyBytes_GET_SIZE(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(wanted)
    if size == 0:
        raise ValueError("nothing is wanted")
    while end - at >= size:
        at = <const char *>memchr(at, PyBytes_AS_STRING(wanted)[0], end - at - size + 1)
        if at == NULL:
            return False
        if memcmp(at, PyBytes_AS_STRING(wanted), size) == 0:
            return True
        at += 1
    return False


def numbered(bytes before not None, uint64_t number, int width, bytes behind not None):
    """`before`, the number in hex digits (`width` of them at least, 16 at most), `behind`."""
    cdef char digit[16]
    cdef int count = 0
    cdef bytes made
    cdef char *to
    if width > 16:
        raise ValueError("a number has 16 digits at most")
    while number or count < width or not count:
        digit[count] = HEX[number & 15]
        number >>= 4
        count += 1
    made = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(before) + count + PyBytes_GET_SIZE(behind))
    to = PyBytes_AS_STRING(made)
    memcpy(to, PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
    to += PyBytes_GET_SIZE(before)
    while count:
        count -= 1
        to[0] = digit[count]
        to += 1
    memcpy(to, PyBytes_AS_STRING(behind), PyBytes_GET_SIZE(behind))
    return made
