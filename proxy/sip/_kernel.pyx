# cython: language_level=3, boundscheck=True, wraparound=False, embedsignature=True
"""The compiled kernel: one pass over a message for its header index, one over what every request needs of it, one to write it with its
edits or a response to it; and the keyed hash of what we put into messages.

The index holds places in the octets, no objects: those are made of what is asked for.

Only what is ordinary is read here. For everything else, and for every message with a fault, the answer is None, and the Python that
called (proxy.sip.message, proxy.validate) reads it itself: what is accepted, refused and said about it stands there, and only there.
Every pointer stays between the beginning of a bytes object and the NUL behind its end.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_Append
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef enum:
    SLOTS = 2048  # a power of two, several times as many as there are names
    FIELDS = 128
    LINES = 96  # of an ordinary message, its start line included
    LINES_EDITED = 8  # of it, ordinarily
    LONGEST_NAME = 40
    LONGEST_KEY = 500  # less than what transaction_key hashes

cdef enum:
    IN_TOKEN = 1
    IN_URI = 2
    IN_NAME = 4  # of a parameter, in lower case: a token that is as split_params gives it back
    IN_VALUE = 8  # of a parameter, not quoted
    IN_BRACKETS = 16  # of a plain address

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
set_kinds(bytes([c for c in range(256) if c not in b'<> ,"']), IN_BRACKETS)


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


cdef struct Span:
    const char *start
    const char *end


@cython.final
@cython.no_gc
@cython.freelist(32)
cdef class Index:
    """Where the lines and the header fields of one ordinary message are. Lines have numbers, the start line is 0."""

    cdef bytes raw
    cdef Scanner scanner
    cdef list others  # canonical names of the lines whose field the scanner has no number for, in order
    cdef Py_ssize_t body_at, uri_at, uri_end
    cdef int count  # lines
    cdef bint repeated  # whether a field has more lines than one
    cdef uint16_t begin[LINES + 1]  # where each line begins, and where the empty one does
    cdef uint16_t value[LINES]  # where its value begins, blanks included
    cdef uint8_t field[LINES]  # the number of its field, FIELDS for one of `others`
    cdef uint8_t first[FIELDS]  # the first line of each field, 0 without one

    def __init__(self):
        raise TypeError("a Scanner makes it")

    cdef inline Span line(self, int number) noexcept:
        cdef const char *text = PyBytes_AS_STRING(self.raw)
        cdef Span span
        span.start = text + self.begin[number]
        span.end = text + self.begin[number + 1] - 2
        return span

    cdef inline bint value_of(self, int field, Span *value) noexcept:
        """The value of the first line of a field, without blanks around it; False where the field is not there."""
        cdef int number = self.first[field]
        if number == 0:
            return False
        value[0] = self.line(number)
        value.start = PyBytes_AS_STRING(self.raw) + self.value[number]
        value[0] = stripped(value[0])
        return True

    def lines(self):
        """Every line of the header section."""
        cdef int number
        cdef list made = []
        for number in range(self.count):
            PyList_Append(made, octets(self.line(number)))
        return made

    def line_at(self, int number):
        """One line of the header section."""
        if not 0 <= number < self.count:
            raise IndexError("a line's place")
        return octets(self.line(number))

    def place(self, bytes name not None):
        """The first line of a field that the scanner has a number for; 0 where there is none. KeyError for other fields."""
        return self.first[<int>self.scanner.numbers[name]]

    def splice(self, dict replaced, bytes start, list top, bytes last):
        """As the function `splice`, of this message's lines and body."""
        cdef const char *text = PyBytes_AS_STRING(self.raw)
        cdef PyObject *edits[LINES_EDITED]  # borrowed of `replaced`, which nobody changes meanwhile
        cdef int places[LINES_EDITED]
        cdef int count = 0, at, other, place
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.raw), from_at, to_at
        cdef object key, line
        cdef bytes made
        cdef char *out
        if replaced is not None:
            if len(replaced) > LINES_EDITED:
                return splice(self.lines(), replaced, start, top, last, self.body())
            for key, line in replaced.items():  # sorted by their places as they come
                place = key
                if not 0 <= place < self.count:
                    raise IndexError("a line's place")
                if line is not None and type(line) is not bytes:
                    raise TypeError("a line is octets")
                at = count
                while at > 0 and places[at - 1] > place:
                    places[at] = places[at - 1]
                    edits[at] = edits[at - 1]
                    at -= 1
                places[at] = place
                edits[at] = <PyObject *>line
                count += 1
                size -= self.begin[place + 1] - self.begin[place]
                if line is not None:
                    size += PyBytes_GET_SIZE(line) + 2
        if start is not None:
            if count > 0 and places[0] == 0:
                return splice(self.lines(), replaced, start, top, last, self.body())
            size += PyBytes_GET_SIZE(start) + 2 - self.begin[1]
        size += written(top) if top is not None else 0
        if last is not None:
            size += PyBytes_GET_SIZE(last) + 2
        made = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(made)
        at = 0
        from_at = 0
        if start is not None:
            out = put_line(out, start)
            from_at = self.begin[1]
        elif count > 0 and places[0] == 0:
            if <object>edits[0] is not None:
                out = put_line(out, <bytes>edits[0])
            at = 1
            from_at = self.begin[1]
        else:
            memcpy(out, text, self.begin[1])
            out += self.begin[1]
            from_at = self.begin[1]
        if top is not None:
            out = put(out, top, 0, len(top))
        for other in range(at, count):
            to_at = self.begin[places[other]]
            memcpy(out, text + from_at, to_at - from_at)
            out += to_at - from_at
            if <object>edits[other] is not None:
                out = put_line(out, <bytes>edits[other])
            from_at = self.begin[places[other] + 1]
        to_at = self.body_at - 2
        memcpy(out, text + from_at, to_at - from_at)
        out += to_at - from_at
        if last is not None:
            out = put_line(out, last)
        memcpy(out, text + to_at, PyBytes_GET_SIZE(self.raw) - to_at)
        return made

    def body(self):
        """What stands behind the header section."""
        return cut(PyBytes_AS_STRING(self.raw) + self.body_at, PyBytes_AS_STRING(self.raw) + PyBytes_GET_SIZE(self.raw))

    def fields(self):
        """The first line of each field by name, and the lines of repeated ones, None where there is none of these."""
        cdef dict first = new_dict(self.count), more = None
        cdef int number, other = 0
        cdef object key, place
        cdef PyObject *found
        cdef list places
        for number in range(1, self.count):
            if self.field[number] < FIELDS:
                key = <object>self.scanner.keys[self.field[number]]
            else:
                key = self.others[other]
                other += 1
            place = number
            if not self.repeated:
                PyDict_SetItem(first, key, place)
                continue
            found = PyDict_GetItemWithError(first, key)
            if found == NULL:
                PyDict_SetItem(first, key, place)
                continue
            if more is None:
                more = {}
            places = more.get(key)
            if places is None:
                more[key] = [<object>found, place]
            else:
                places.append(place)
        return first, more


cdef class Scanner:
    """Reads whole messages. `known` maps names as they are written to canonical names; `learn(line)` is asked for others and raises where
    there is none; `single` are the canonical names that may stand in a message once; `methods` those of ordinary requests. `marks` are the
    bits that stand for some canonical names, `repeated` the one that stands for a field of several lines.
    """

    cdef dict known
    cdef object learn
    cdef frozenset single
    cdef list kept  # what the pointers in `names` point into
    cdef Name names[SLOTS]
    cdef PyObject *keys[FIELDS]
    cdef bint once[FIELDS]
    cdef uint64_t marks[FIELDS]
    cdef uint64_t repeated
    cdef int fields
    cdef dict numbers
    cdef list methods
    cdef int via, sender, to, call_id, cseq, content_length, privacy
    cdef Py_ssize_t max_message, max_head, max_lines

    def __init__(
        self,
        dict known not None,
        object learn,
        frozenset single not None,
        frozenset methods not None,
        dict marks not None,
        uint64_t repeated,
        Py_ssize_t max_message,
        Py_ssize_t max_head,
        Py_ssize_t max_lines,
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
        self.max_message = min(max_message, 65535)
        self.max_head = max_head
        self.max_lines = min(max_lines, LINES - 1)
        self.repeated = repeated
        self.fields = 0
        for name, key in known.items():
            if key not in self.numbers:
                if self.fields >= FIELDS:
                    raise ValueError("too many header fields")
                self.kept.append(key)
                self.keys[self.fields] = <PyObject *>key
                self.once[self.fields] = key in single
                self.marks[self.fields] = marks.get(key, 0)
                self.numbers[key] = self.fields
                self.fields += 1
            if len(name) > LONGEST_NAME or len(name) < 1 or len(self.kept) >= SLOTS // 2:
                raise ValueError("a header field's name is too long, or there are too many")
            self.kept.append(name)
            self.enter(PyBytes_AS_STRING(name), len(name), self.numbers[key])
        self.via = self.numbers[b"via"]
        self.sender = self.numbers[b"from"]
        self.to = self.numbers[b"to"]
        self.call_id = self.numbers[b"call-id"]
        self.cseq = self.numbers[b"cseq"]
        self.content_length = self.numbers[b"content-length"]
        self.privacy = self.numbers[b"privacy"]

    cdef void enter(self, const char *text, Py_ssize_t size, int field):
        cdef unsigned int at = slot(text, size)
        while self.names[at].text != NULL:
            at = (at + 1) & (SLOTS - 1)
        self.names[at].text = text
        self.names[at].size = size
        self.names[at].field = field

    cdef inline int find(self, const char *text, Py_ssize_t size) noexcept nogil:
        """The number of the field that is written so, -1 where it is not among the known ones."""
        cdef unsigned int at
        if not 0 < size <= LONGEST_NAME:
            return -1
        at = slot(text, size)
        while self.names[at].text != NULL:
            if self.names[at].size == size and memcmp(self.names[at].text, text, size) == 0:
                return self.names[at].field
            at = (at + 1) & (SLOTS - 1)
        return -1

    cdef int ask(self, Index index, const char *at, const char *colon, const char *stop) except -2:
        """The number of the field of a line that is written in an unusual way; FIELDS where it has none; -1 where it is not to be read."""
        cdef bytes written = cut(at, colon)
        cdef object key
        cdef PyObject *found = PyDict_GetItemWithError(self.known, written)
        if found != NULL:
            key = <object>found
        else:
            try:
                key = self.learn(cut(at, stop))
            except Exception:
                return -1
        found = PyDict_GetItemWithError(self.numbers, key)
        if found != NULL:
            return <object>found
        if index.others is None:
            index.others = []
        elif key in index.others:
            if key in self.single:
                return -1
            index.repeated = True
        index.others.append(key)
        return FIELDS

    def scan(self, bytes raw not None):
        """One ordinary message: (its index, raw, marks of what is there, method, URI, status, phrase)."""
        cdef const char *start = PyBytes_AS_STRING(raw)
        cdef const char *end = start + PyBytes_GET_SIZE(raw)
        cdef const char *at = start
        cdef const char *stop
        cdef const char *colon
        cdef const char *limit
        cdef Span value
        cdef uint64_t marks = 0
        cdef int number = 0, status = 0, field
        cdef long size = -1
        cdef bytes method = b"", uri = b"", phrase = b""
        cdef Index index

        if end - start > self.max_message:
            return None
        index = Index.__new__(Index)
        index.scanner = self
        while True:
            stop = <const char *>memchr(at, 10, end - at)
            if stop == NULL or stop == start or (stop - 1)[0] != 13:
                return None
            stop -= 1  # at its CR
            if memchr(at, 13, stop - at) != NULL:
                return None
            index.begin[number] = <uint16_t>(at - start)
            if stop == at:  # the empty line
                if number == 0:
                    return None
                at += 2
                break
            if number > self.max_lines or stop - start > self.max_head:
                return None
            if number == 0:
                if stop - at >= 11 and memcmp(at, b"SIP/2.0 ", 8) == 0:
                    if (stop - at > 11 and at[11] != 32) or digits(at + 8, at + 11) < 100 or digits(at + 8, at + 11) > 699:
                        return None
                    status = <int>digits(at + 8, at + 11)
                    phrase = cut(at + 12, stop) if stop - at > 12 else b""
                else:
                    limit = <const char *>memchr(at, 32, stop - at)
                    if limit == NULL:
                        return None
                    method = self.method(at, limit - at)
                    if method is None:
                        return None
                    colon = <const char *>memchr(limit + 1, 32, stop - limit - 1)
                    if colon == NULL or colon == limit + 1 or stop - colon != 8 or memcmp(colon, b" SIP/2.0", 8) != 0:
                        return None
                    index.uri_at = limit + 1 - start
                    index.uri_end = colon - start
                    uri = cut(limit + 1, colon)
                number = 1
                at = stop + 2
                continue
            if at[0] == 32 or at[0] == 9:  # folded
                return None
            colon = <const char *>memchr(at, 58, stop - at)
            if colon == NULL:
                return None
            field = self.find(at, colon - at)
            if field < 0:
                field = self.ask(index, at, colon, stop)
                if field < 0:
                    return None
            index.field[number] = <uint8_t>field
            index.value[number] = <uint16_t>(colon + 1 - start)
            if field < FIELDS:
                if index.first[field] == 0:
                    index.first[field] = <uint8_t>number
                    marks |= self.marks[field]
                elif self.once[field]:
                    return None
                else:
                    index.repeated = True
                if field == self.content_length:
                    value.start = colon + 1
                    value.end = stop
                    while value.start < value.end and (value.start[0] == 32 or value.start[0] == 9):
                        value.start += 1
                    while value.start < value.end and ((value.end - 1)[0] == 32 or (value.end - 1)[0] == 9):
                        value.end -= 1
                    size = digits(value.start, value.end)
                    if size < 0:
                        return None
            number += 1
            at = stop + 2
        if at - start > self.max_head or size > end - at:
            return None
        if 0 <= size < end - at:
            raw = cut(start, at + size)  # what follows in the datagram is not ours to pass on (RFC 3261 §18.3)
        index.raw = raw
        index.count = number
        index.body_at = at - start
        if index.repeated:
            marks |= self.repeated
        return index, raw, marks, method, uri, status, phrase

    cdef bytes method(self, const char *text, Py_ssize_t size):
        """A method's name as one of those that are kept, None for an unusual one."""
        cdef bytes name
        for name in self.methods:
            if PyBytes_GET_SIZE(name) == size and memcmp(PyBytes_AS_STRING(name), text, size) == 0:
                return name
        return None


cdef inline unsigned int slot(const char *text, Py_ssize_t size) noexcept nogil:
    """Where the name of a field is looked for first. Its length and three of its octets tell nearly all of them apart."""
    cdef unsigned int hashed = <unsigned int>size << 24 ^ <unsigned char>text[0] << 16 ^ <unsigned char>text[size >> 1] << 8
    return ((hashed ^ <unsigned char>text[size - 1]) * <unsigned int>2654435761) >> 21


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
    if length(value) <= 6 or value.start[0] != 60 or last[0] != 62:
        return False
    return all_of(value.start + 1, last, IN_BRACKETS) and seek(value.start + 1, last, 58) != last


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
        cdef ViaSpans found
        if not via_spans(value, &found):
            return None
        return self.made(&found)

    cdef tuple made(self, ViaSpans *via):
        cdef bytes sent_by = octets(via.sent_by)
        cdef PyObject *found = PyDict_GetItemWithError(self.hosts, sent_by)
        cdef tuple place
        if found != NULL:
            place = <object>found
        else:
            try:
                place = self.split_host(sent_by, "Via")
            except Exception:
                return None
        return (
            cut(via.sent_by.start - 4, via.sent_by.start - 1),
            sent_by,
            place[0],
            place[1],
            octets(via.branch) if via.branch.start != NULL else None,
            octets(via.rport) if via.rport.start != NULL else None,
            octets(via.received) if via.received.start != NULL else None,
        )


cdef struct ViaSpans:
    Span sent_by, branch, rport, received  # start NULL where the parameter is not there


cdef bint via_spans(Span value, ViaSpans *via) noexcept nogil:
    """Take an ordinary Via value apart; False for any other."""
    cdef Span part, name, text
    cdef const char *at
    cdef const char *head = value.start
    via.branch.start = via.rport.start = via.received.start = NULL
    via.sent_by.start = head + 12
    via.sent_by.end = at = seek(value.start, value.end, 59)
    if at - head < 13 or memcmp(head, b"SIP/2.0/", 8) != 0 or head[11] != 32:
        return False
    if memcmp(head + 8, b"UDP", 3) != 0 and memcmp(head + 8, b"TCP", 3) != 0 and memcmp(head + 8, b"TLS", 3) != 0:
        return False
    while at < value.end:  # at a semicolon
        part.start = at + 1
        part.end = at = seek(at + 1, value.end, 59)
        name.start = part.start
        name.end = seek(part.start, part.end, 61)
        if length(name) == 0 or not all_of(name.start, name.end, IN_NAME):
            return False
        text.start = name.end + 1 if name.end < part.end else part.end
        text.end = part.end
        if (name.end < part.end and length(text) == 0) or not all_of(text.start, text.end, IN_VALUE):
            return False
        if length(name) == 6 and memcmp(name.start, b"branch", 6) == 0:
            if via.branch.start != NULL or name.end == part.end:
                return False
            via.branch = text
        elif length(name) == 5 and memcmp(name.start, b"rport", 5) == 0:
            via.rport = text
        elif length(name) == 8 and memcmp(name.start, b"received", 8) == 0:
            if name.end == part.end:
                return False
            via.received = text
    return True


cdef int port_of(Span sent_by, const char *address, Py_ssize_t size) noexcept nogil:
    """The port of a sent-by that names this IPv4 address, 5060 where it names none; -1 for any other sent-by."""
    cdef long port
    if size > length(sent_by) or memcmp(sent_by.start, address, size) != 0 or memchr(address, 58, size) != NULL:
        return -1
    if size == length(sent_by):
        return 5060
    if sent_by.start[size] != 58 or length(sent_by) - size > 6:
        return -1
    port = digits(sent_by.start + size + 1, sent_by.end)
    return <int>port if 0 < port <= 65535 else -1


cdef class Requests:
    """Reads what every request is asked for. `vias` takes its Via apart, `addresses` are the fields whose values must be addresses."""

    cdef Vias vias
    cdef int addresses[FIELDS]
    cdef int count, max_forwards, date, expires, asserted

    def __init__(self, Scanner scanner not None, Vias vias not None, tuple addresses not None):
        self.vias = vias
        self.count = 0
        if len(addresses) > FIELDS:
            raise ValueError("too many header fields")
        for name in addresses:
            self.addresses[self.count] = scanner.numbers[name]
            self.count += 1
        self.max_forwards = scanner.numbers[b"max-forwards"]
        self.date = scanner.numbers[b"date"]
        self.expires = scanner.numbers[b"expires"]
        self.asserted = scanner.numbers[b"p-asserted-identity"]

    def read(self, Index index not None, bytes method not None, bytes address not None):
        """An ordinary request: (its URI is ordinary; the port of its top Via, the branch; that Via's value and parts unless the branch and
        port are all that matters of it; Call-ID, CSeq digits, From's URI and tag, To's URI and tag, Max-Forwards or None, transaction key,
        whether the fields that we do not use ourselves are plain).
        """
        cdef Span via, call_id, cseq, sender, to, hops, uri, tag, to_uri, to_tag, target
        cdef ViaSpans spans
        cdef Scanner names = index.scanner
        cdef tuple parts = None
        cdef bytes kind, written = None
        cdef const char *at
        cdef long limit = -1
        cdef int port = -1
        cdef Py_ssize_t room
        if not index.value_of(names.via, &via) or length(via) == 0 or seek(via.start, via.end, 44) != via.end:
            return None
        if not via_spans(via, &spans):
            return None
        if not index.value_of(names.call_id, &call_id) or length(call_id) == 0:
            return None
        if not index.value_of(names.cseq, &cseq):
            return None
        at = seek(cseq.start, cseq.end, 32)
        if cseq.end - at - 1 != PyBytes_GET_SIZE(method) or memcmp(at + 1, PyBytes_AS_STRING(method), PyBytes_GET_SIZE(method)) != 0:
            return None
        if digits(cseq.start, at) < 0:
            return None
        while at - cseq.start > 1 and cseq.start[0] == 48:
            cseq.start += 1
        cseq.end = at
        if not index.value_of(names.sender, &sender) or not party(sender, &uri, &tag):
            return None
        if not index.value_of(names.to, &to) or not party(to, &to_uri, &to_tag):
            return None
        if index.value_of(self.max_forwards, &hops):
            limit = digits(hops.start, hops.end)
            if not 0 <= limit <= 255:
                return None
        if spans.branch.start == NULL or length(spans.branch) <= 7 or memcmp(spans.branch.start, b"z9hG4bK", 7) != 0:
            return None
        room = LONGEST_KEY - PyBytes_GET_SIZE(address) - PyBytes_GET_SIZE(method)
        if length(spans.branch) + length(spans.sent_by) > room:
            return None
        if spans.rport.start == NULL and spans.received.start == NULL:
            port = port_of(spans.sent_by, PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address))
        if port < 0:
            parts = self.vias.made(&spans)
            if parts is None:
                return None
            written = octets(via)
        kind = b"INVITE" if method == b"ACK" or method == b"CANCEL" else method
        target.start = PyBytes_AS_STRING(index.raw) + index.uri_at
        target.end = PyBytes_AS_STRING(index.raw) + index.uri_end
        return (
            uri_spans(target, NULL),
            port,
            octets(spans.branch),
            written,
            parts,
            octets(call_id),
            octets(cseq),
            octets(uri),
            octets(tag),
            octets(to_uri),
            octets(to_tag),
            limit if limit >= 0 else None,
            joined(spans.branch, spans.sent_by, address, kind),
            self.rest_is_plain(index),
        )

    cdef bint rest_is_plain(self, Index index) noexcept:
        cdef Span value
        cdef int at
        if index.repeated or index.first[self.date] or index.first[self.expires]:
            return False
        for at in range(self.count):
            if index.value_of(self.addresses[at], &value) and not plain(value):
                return False
        return True

    def identity(self, Index index not None, bytes sender not None):
        """The URI of P-Asserted-Identity where it is `Name: <uri>` to the letter and stands once, as proxy.intake.only_uri has it: `sender`
        itself where that is the same; None for any other.
        """
        cdef Span uri
        if index.repeated or not index.first[self.asserted] or not only_uri_of(index.line(index.first[self.asserted]), &uri):
            return None
        if length(uri) == PyBytes_GET_SIZE(sender) and memcmp(uri.start, PyBytes_AS_STRING(sender), length(uri)) == 0:
            return sender
        return octets(uri)


cdef bytes joined(Span branch, Span sent_by, bytes address, bytes kind):
    """b" ".join of the four."""
    cdef Py_ssize_t a = length(branch), b = length(sent_by), c = PyBytes_GET_SIZE(address), d = PyBytes_GET_SIZE(kind)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, a + b + c + d + 3)
    cdef char *at = PyBytes_AS_STRING(made)
    memcpy(at, branch.start, a)
    at[a] = 32
    at += a + 1
    memcpy(at, sent_by.start, b)
    at[b] = 32
    at += b + 1
    memcpy(at, PyBytes_AS_STRING(address), c)
    at[c] = 32
    memcpy(at + c + 1, PyBytes_AS_STRING(kind), d)
    return made


cdef struct UriSpans:
    bint tel
    Span user, host, params  # the user's start NULL without one
    long port  # -1 without one


def read_uri(bytes text not None):
    """An ordinary SIP or tel URI: (scheme, user or None, host, port, parameter tail)."""
    cdef Span whole
    cdef UriSpans uri
    whole.start = PyBytes_AS_STRING(text)
    whole.end = whole.start + PyBytes_GET_SIZE(text)
    if not uri_spans(whole, &uri):
        return None
    if uri.tel:
        return b"tel", octets(uri.user), b"", None, octets(uri.params)
    return (
        b"sip",
        octets(uri.user) if uri.user.start != NULL else None,
        octets(uri.host),
        uri.port if uri.port >= 0 else None,
        octets(uri.params),
    )


cdef bint uri_spans(Span whole, UriSpans *found) noexcept nogil:
    """Take an ordinary SIP or tel URI apart, `found` NULL: only tell whether it is one."""
    cdef Span rest, user, host, params
    cdef const char *at
    cdef const char *colon
    cdef long port = -1
    if length(whole) < 5 or not all_of(whole.start, whole.end, IN_URI) or seek(whole.start, whole.end, 37) != whole.end:
        return False
    rest.start = whole.start + 4
    rest.end = whole.end
    if memcmp(whole.start, b"tel:", 4) == 0:
        params.start = seek(rest.start, rest.end, 59)
        params.end = rest.end
        if params.start == rest.start or seek(rest.start, rest.end, 64) != rest.end or seek(rest.start, rest.end, 63) != rest.end:
            return False
        if found != NULL:
            found.tel = True
            found.user.start = rest.start
            found.user.end = params.start
            found.params = params
        return True
    if memcmp(whole.start, b"sip:", 4) != 0:
        return False
    at = seek(rest.start, rest.end, 64)
    user.start = rest.start
    user.end = at
    host.start = rest.start
    if at < rest.end:
        if length(user) == 0 or user.start[0] == 58 or seek(at + 1, rest.end, 64) != rest.end:
            return False
        if seek(user.start, user.end, 91) != user.end or seek(user.start, user.end, 93) != user.end:
            return False
        host.start = at + 1
    else:
        user.start = NULL
    if seek(host.start, rest.end, 63) != rest.end:
        return False
    params.start = seek(host.start, rest.end, 59)
    params.end = rest.end
    host.end = params.start
    colon = seek(host.start, host.end, 58)
    if colon < host.end:
        port = digits(colon + 1, host.end)
        if not 0 <= port <= 65535 or host.end - colon > 6:
            return False
        host.end = colon
    if length(host) == 0:
        return False
    colon = host.start
    while colon < host.end:
        # a name in lower case or an IPv4 address: brackets and capitals are read elsewhere
        if not (97 <= colon[0] <= 122 or 48 <= colon[0] <= 57 or colon[0] == 45 or colon[0] == 46 or colon[0] == 95):
            return False
        colon += 1
    if length(params) > 0:
        if (params.end - 1)[0] == 59:
            return False
        colon = params.start
        while colon + 1 < params.end:
            if colon[0] == 59 and colon[1] == 59:
                return False
            colon += 1
    if found != NULL:
        found.tel = False
        found.user = user
        found.host = host
        found.port = port
        found.params = params
    return True


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
    return joined(branch, sent_by, address, b"INVITE")


def text(bytes value not None):
    """As proxy.intake has it."""
    return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), b"surrogateescape")


def only_uri(bytes line not None):
    """As proxy.intake has it."""
    cdef Span whole, uri
    whole.start = PyBytes_AS_STRING(line)
    whole.end = whole.start + PyBytes_GET_SIZE(line)
    return octets(uri) if only_uri_of(whole, &uri) else None


cdef bint only_uri_of(Span line, Span *uri) noexcept nogil:
    cdef const char *end = line.end
    cdef const char *at = seek(line.start, end, 58)
    if end - at < 5 or at[1] != 32 or at[2] != 60 or (end - 1)[0] != 62:
        return False
    at += 3
    if seek(at, end, 62) != end - 1 or seek(at, end, 60) != end or seek(line.start, end, 44) != end or seek(line.start, end, 13) != end:
        return False
    uri.start = at
    uri.end = end - 1
    return True


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


def respond(Index index not None, bytes start not None, bytes via_line, bytes to_tag not None, bytes extra not None):
    """As proxy.sip.response.build_response; None where To is written in an unusual way."""
    cdef Scanner names = index.scanner
    cdef int fields[4]
    cdef int number, at, vias = 0
    cdef Span line, tail
    cdef Py_ssize_t size = PyBytes_GET_SIZE(start) + 2 + PyBytes_GET_SIZE(extra) + END_SIZE
    cdef bint tagged = True
    cdef bytes made
    cdef char *out
    fields[0] = names.sender
    fields[1] = names.to
    fields[2] = names.call_id
    fields[3] = names.cseq
    for number in range(index.first[names.via], index.count if index.repeated else index.first[names.via] + 1):
        if number and index.field[number] == names.via:
            size += PyBytes_GET_SIZE(via_line) + 2 if via_line is not None and not vias else length(index.line(number)) + 2
            vias += 1
    for at in range(4):
        if index.first[fields[at]]:
            line = index.line(index.first[fields[at]])
            size += length(line) + 2
            if at == 1 and PyBytes_GET_SIZE(to_tag) > 0:
                tail = line
                while tail.end > tail.start and (tail.end - 1)[0] != 62:
                    tail.end -= 1
                if tail.end == tail.start:
                    return None
                tail.start = tail.end
                tail.end = line.end
                if length(tail) == 0:
                    tagged = False
                    size += 5 + PyBytes_GET_SIZE(to_tag)
                elif not begins(tail, b";tag=", 5) or not all_of(tail.start + 5, tail.end, IN_TOKEN):
                    return None
    made = PyBytes_FromStringAndSize(NULL, size)
    out = put_line(PyBytes_AS_STRING(made), start)
    at = 0
    for number in range(index.first[names.via], index.count if index.repeated else index.first[names.via] + 1):
        if number and index.field[number] == names.via:
            if via_line is not None and not at:
                out = put_line(out, via_line)
            else:
                out = put_span(out, index.line(number))
            at += 1
    for at in range(4):
        if index.first[fields[at]]:
            out = put_span(out, index.line(index.first[fields[at]]))
            if at == 1 and not tagged:
                memcpy(out - 2, b";tag=", 5)
                memcpy(out + 3, PyBytes_AS_STRING(to_tag), PyBytes_GET_SIZE(to_tag))
                out += 3 + PyBytes_GET_SIZE(to_tag)
                memcpy(out, b"\r\n", 2)
                out += 2
    memcpy(out, PyBytes_AS_STRING(extra), PyBytes_GET_SIZE(extra))
    memcpy(out + PyBytes_GET_SIZE(extra), END_LINES, END_SIZE)
    return made


cdef enum:
    END_SIZE = 21

cdef const char *END_LINES = b"Content-Length: 0\r\n\r\n"


cdef inline char *put_span(char *to, Span span) noexcept nogil:
    cdef Py_ssize_t size = length(span)
    memcpy(to, span.start, size)
    to[size] = 13
    to[size + 1] = 10
    return to + size + 2


def part(bytes key not None):
    """As proxy.spread has it: compiled Python takes most hashes for numbers that do not fit, and spends four times as long on them."""
    return hash(key) & 255


# BLAKE2b (RFC 7693), keyed, of one text. Python's own has the same values; making its object and asking it takes three times as long as the
# hash of so few octets.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint64_t BLAKE2B_IV[8] = {
        0x6A09E667F3BCC908ULL, 0xBB67AE8584CAA73BULL, 0x3C6EF372FE94F82BULL, 0xA54FF53A5F1D36F1ULL,
        0x510E527FADE682D1ULL, 0x9B05688C2B3E6C1FULL, 0x1F83D9ABFB41BD6BULL, 0x5BE0CD19137E2179ULL};

    #define BLAKE2B_ROT(x, n) (((x) >> (n)) | ((x) << (64 - (n))))
    #define BLAKE2B_G(a, b, c, d, x, y) \
        v[a] += v[b] + m[x]; v[d] = BLAKE2B_ROT(v[d] ^ v[a], 32); v[c] += v[d]; v[b] = BLAKE2B_ROT(v[b] ^ v[c], 24); \
        v[a] += v[b] + m[y]; v[d] = BLAKE2B_ROT(v[d] ^ v[a], 16); v[c] += v[d]; v[b] = BLAKE2B_ROT(v[b] ^ v[c], 63);

    /* A round reads the words of the message in an order of its own, written out: so it is known to the compiler. */
    #define BLAKE2B_ROUND(a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q) \
        BLAKE2B_G(0, 4, 8, 12, a, b) BLAKE2B_G(1, 5, 9, 13, c, d) BLAKE2B_G(2, 6, 10, 14, e, f) BLAKE2B_G(3, 7, 11, 15, g, h) \
        BLAKE2B_G(0, 5, 10, 15, i, j) BLAKE2B_G(1, 6, 11, 12, k, l) BLAKE2B_G(2, 7, 8, 13, n, o) BLAKE2B_G(3, 4, 9, 14, p, q)

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
        BLAKE2B_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        BLAKE2B_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        BLAKE2B_ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
        BLAKE2B_ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
        BLAKE2B_ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
        BLAKE2B_ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
        BLAKE2B_ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
        BLAKE2B_ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
        BLAKE2B_ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
        BLAKE2B_ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
        BLAKE2B_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        BLAKE2B_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
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
    TEXT = 512  # octets that are put together without an object


cdef inline unsigned char *added(unsigned char *to, bytes line) noexcept:
    memcpy(to, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
    return to + PyBytes_GET_SIZE(line)


cdef inline unsigned char *ended(unsigned char *at) noexcept nogil:
    at[0] = 10
    return at + 1


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
        return self.digest(<const unsigned char *>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    def hex_lines(self, bytes a not None, bytes b not None, bytes c not None, bytes d=None):
        """The digest of three or four lines with a line feed between each two."""
        cdef unsigned char text[TEXT]
        cdef unsigned char *at = text
        cdef Py_ssize_t size = PyBytes_GET_SIZE(a) + PyBytes_GET_SIZE(b) + PyBytes_GET_SIZE(c) + 2
        if d is not None:
            size += PyBytes_GET_SIZE(d) + 1
        if size > TEXT:
            return self.hex(b"\n".join((a, b, c) if d is None else (a, b, c, d)))
        at = added(at, a)
        at = added(ended(at), b)
        at = added(ended(at), c)
        if d is not None:
            at = added(ended(at), d)
        return self.digest(text, size)

    cdef bytes digest(self, const unsigned char *at, Py_ssize_t left):
        cdef uint64_t h[8]
        cdef unsigned char block[BLOCK]
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
