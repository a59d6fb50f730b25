# cython: language_level=3, boundscheck=True, wraparound=False, embedsignature=True
"""The compiled kernel of policy: the look-ups of rules.directory.index and rules.directory.rows, and the ordinary number of
rules.numbers.normalise. Each does what the Python of that place does without it.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_1BYTE_DATA(object text)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)

ctypedef unsigned long long Word
ctypedef unsigned int Row


cdef class Exact:
    """Rows by key, see rules.directory.index.ExactIndex."""

    cdef const Row[::1] heads, rows
    cdef const Word[::1] keys
    cdef Word modulus

    def __init__(self, const Row[::1] heads not None, const Word[::1] keys not None, const Row[::1] rows not None):
        if heads.shape[0] < 2:
            raise ValueError("an index has a bucket at least")
        self.heads = heads
        self.keys = keys
        self.rows = rows
        self.modulus = <Word>heads.shape[0] - 1

    def find(self, Word key):
        """Rows whose key is `key`, in the order they were given."""
        cdef Py_ssize_t bucket = <Py_ssize_t>(key % self.modulus)
        cdef Py_ssize_t at
        cdef tuple found = ()
        for at in range(self.heads[bucket], self.heads[bucket + 1]):
            if self.keys[at] == key:
                found = found + (self.rows[at],)
        return found


cdef class Spans:
    """Rows by interval, see rules.directory.index.SpanIndex."""

    cdef const Word[::1] starts
    cdef const Row[::1] heads, cover

    def __init__(self, const Word[::1] starts not None, const Row[::1] heads not None, const Row[::1] cover not None):
        if heads.shape[0] != starts.shape[0] + 1:
            raise ValueError("an index of intervals has a head for each, and one more")
        self.starts = starts
        self.heads = heads
        self.cover = cover

    def find(self, Word place):
        """Rows whose interval holds the point `place`, best first."""
        cdef Py_ssize_t low = 0, high = self.starts.shape[0], middle, begin, end, at
        cdef list found
        while low < high:
            middle = (low + high) >> 1
            if place < self.starts[middle]:
                high = middle
            else:
                low = middle + 1
        begin, end = self.heads[low - 1], self.heads[low]
        if begin == end:
            return ()
        if end == begin + 1:
            return (self.cover[begin],)
        found = []
        for at in range(begin, end):
            found.append(self.cover[at])
        return tuple(found)


cdef class Rows:
    """Encoded rows one after another, see rules.directory.rows.RowReader."""

    cdef const unsigned char[::1] blob
    cdef const Word[::1] ends

    def __init__(self, const unsigned char[::1] blob not None, const Word[::1] ends not None):
        self.blob = blob
        self.ends = ends

    def encoded(self, Py_ssize_t row):
        """The octets of a row."""
        cdef Word begin = self.ends[row], end = self.ends[row + 1]
        if begin >= end or end > <Word>self.blob.shape[0]:
            raise IndexError("a row's place")
        return PyBytes_FromStringAndSize(<const char *>&self.blob[<Py_ssize_t>begin], <Py_ssize_t>(end - begin))


def read_number(str uri not None):
    """As rules.numbers.normalise has it."""
    cdef const char *at
    cdef const char *end
    cdef const char *last
    cdef const char *nsn
    cdef Word value = 0, place = 0
    cdef Py_ssize_t size, digit, first
    cdef str user, canonical
    if not PyUnicode_IS_COMPACT_ASCII(uri) or PyUnicode_GET_LENGTH(uri) < SHORTEST:
        return None
    at = PyUnicode_1BYTE_DATA(uri)
    end = last = at + PyUnicode_GET_LENGTH(uri)
    if memcmp(at, b"sip:", 4) == 0:
        at += 4
        end = <const char *>memchr(at, 64, end - at)
        if end == NULL or memchr(end + 1, 64, last - end - 1) != NULL:
            return None  # where the user part ends is said by who reads all of it
    elif memcmp(at, b"tel:", 4) == 0:
        at += 4
    else:
        return None
    nsn = at
    if end - at > 3 and memcmp(at, b"+86", 3) == 0:
        nsn += 3
    elif at < end and at[0] == 48:
        nsn += 1
    size = end - nsn
    if size != 10 and size != 11:
        return None
    first = 5 if nsn[0] == 49 else 4
    for digit in range(size):
        if not 48 <= nsn[digit] <= 57:
            return None
        if digit == first:
            place = value
        value = value * 10 + (nsn[digit] - 48)
    if size == 11:
        place += PLACES
        value += <Word>86 * 100_000_000_000
    else:
        value += <Word>86 * 10_000_000_000
    user = text_of(at, end - at)
    canonical = user if nsn == at + 3 else "+86" + text_of(nsn, size)
    return user, canonical, <Word>(size + 2) << 56 | value, place


cdef enum:
    SHORTEST = 14  # a scheme and ten digits
    PLACES = 20_000


cdef inline str text_of(const char *at, Py_ssize_t size):
    cdef str text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_1BYTE_DATA(text), at, size)
    return text
