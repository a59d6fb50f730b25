# cython: language_level=3, boundscheck=True, wraparound=False
"""Many datagrams in one system call: recvmmsg and sendmmsg (Linux), for IPv4 and IPv6 sockets.

Remote addresses are octets here, as the kernel has them (struct sockaddr_in or sockaddr_in6), and nothing but keys to everybody else.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EINTR, errno
from libc.string cimport memcmp, memset

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/socket.h>
    """

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t
    struct sockaddr_storage:
        sa_family_t ss_family
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct timespec:
        pass
    int MSG_DONTWAIT
    int MSG_TRUNC
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)

cdef enum:
    MOST = 64  # datagrams in one call
    KEEPALIVE = 5  # octets of the shortest datagram that is no keep-alive whatever it holds
    SIZE = 65536  # octets of a datagram, and one more, which would show that it was cut
    # buffers begin at different places of the processor's cache lines: at the same ones, their first octets would drive each other out
    STRIDE = SIZE + 1088

BATCH = MOST


cdef class Receiver:
    """Buffers for one batch of datagrams, for any number of sockets in turn."""

    cdef char *buffers
    cdef mmsghdr headers[MOST]
    cdef iovec vectors[MOST]
    cdef sockaddr_storage names[MOST]

    def __cinit__(self):
        cdef int at
        self.buffers = <char *>PyMem_Malloc(MOST * STRIDE)
        if self.buffers == NULL:
            raise MemoryError
        memset(self.headers, 0, sizeof(self.headers))
        memset(self.names, 0, sizeof(self.names))
        for at in range(MOST):
            self.vectors[at].iov_base = self.buffers + at * STRIDE
            self.vectors[at].iov_len = SIZE
            self.headers[at].msg_hdr.msg_iov = &self.vectors[at]
            self.headers[at].msg_hdr.msg_iovlen = 1
            self.headers[at].msg_hdr.msg_name = &self.names[at]

    def __dealloc__(self):
        PyMem_Free(self.buffers)

    def receive(self, int fd, dict flows not None, remember, port, receive, double now):
        """Take in what waits, up to BATCH: `receive(data, flow, now)` for each datagram but keep-alives. How many came, and how many of
        them were keep-alives.

        `flows` by the sender's address; `remember(port, address)` makes one for a sender that is not in there. OSError as recvfrom has it, for
        the first datagram only: one behind it ends the batch, and is raised by the next call.
        """
        cdef int count, at, kept_alive = 0
        cdef socklen_t size
        cdef Py_ssize_t length
        cdef char *buffer
        cdef bytes name = None
        cdef object flow = None, found
        for at in range(MOST):
            self.headers[at].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        while True:
            with nogil:
                count = recvmmsg(fd, self.headers, MOST, MSG_DONTWAIT, NULL)
            if count >= 0 or errno != EINTR:
                break
        if count < 0:
            PyErr_SetFromErrno(OSError)
        cdef object clock = now
        for at in range(count):
            size = self.headers[at].msg_hdr.msg_namelen
            length = self.headers[at].msg_len
            if size > sizeof(sockaddr_storage) or length > SIZE or self.headers[at].msg_hdr.msg_flags & MSG_TRUNC:
                continue  # no UDP datagram is that long
            buffer = self.buffers + at * STRIDE
            if length < KEEPALIVE and is_keepalive(buffer, length):
                kept_alive += 1
                continue
            # a batch is mostly of few senders: the one before is not looked for again
            if name is None or PyBytes_GET_SIZE(name) != <Py_ssize_t>size or memcmp(PyBytes_AS_STRING(name), &self.names[at], size):
                name = PyBytes_FromStringAndSize(<char *>&self.names[at], size)
                found = flows.get(name)
                flow = remember(port, name) if found is None else found
            receive(PyBytes_FromStringAndSize(buffer, length), flow, clock)
        return count, kept_alive


cdef bint is_keepalive(const char *octets, Py_ssize_t length) noexcept:
    """Whether there is nothing in it but line ends and zeros."""
    cdef Py_ssize_t at
    for at in range(length):
        if octets[at] != b"\r" and octets[at] != b"\n" and octets[at] != 0:
            return False
    return True


def send(int fd, list sends not None, Py_ssize_t begin, listener):
    """Send (flow, data) pairs from `begin` on, in order, up to BATCH and to the first that goes over another listener or whose flow has no
    `packed` address yet: how many the kernel took.

    OSError as sendto has it where it did not take the first: BlockingIOError when the socket is full, another for this one datagram.
    """
    cdef mmsghdr headers[MOST]
    cdef iovec vectors[MOST]
    cdef int count = 0, sent
    cdef bytes address = None, data
    cdef object flow, before = None
    cdef list held = []  # what the pointers below point into
    cdef Py_ssize_t last = min(len(sends), begin + MOST)
    if begin < 0:
        raise ValueError("begin")
    while begin + count < last:
        flow, data = sends[begin + count]
        if data is None:
            raise TypeError("octets")
        if flow is not before:
            if flow.listener is not listener:
                break
            address = flow.packed
            if not address:
                break
            if PyBytes_GET_SIZE(address) > <Py_ssize_t>sizeof(sockaddr_storage):
                raise ValueError("address")
            held.append(address)
            before = flow
        memset(&headers[count], 0, sizeof(mmsghdr))
        headers[count].msg_hdr.msg_name = PyBytes_AS_STRING(address)
        headers[count].msg_hdr.msg_namelen = <socklen_t>PyBytes_GET_SIZE(address)
        headers[count].msg_hdr.msg_iov = &vectors[count]
        headers[count].msg_hdr.msg_iovlen = 1
        vectors[count].iov_base = PyBytes_AS_STRING(data)
        vectors[count].iov_len = PyBytes_GET_SIZE(data)
        count += 1
    if count == 0:
        return 0
    while True:
        with nogil:
            sent = sendmmsg(fd, headers, count, MSG_DONTWAIT)
        if sent >= 0 or errno != EINTR:
            break
    if sent < 0:
        PyErr_SetFromErrno(OSError)
    return sent
