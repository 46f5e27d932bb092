/* Flips one bit of one block that a rank sends: what someone between two hosts could do.
 *
 * Preloaded (LD_PRELOAD), it stands before MPI_Isend (MPI 4.1, chapter 15: the profiling interface). The block number
 * FLIP_BLOCK, counted from 0, of FLIP_LEAST bytes or more that rank FLIP_RANK sends in a slot's phase FLIP_PHASE gets bit 0 of its byte FLIP_BYTE flipped
 * (of its last where it has fewer, or that is negative), and a line on stderr says to whom it went. With FLIP_LONGER it has so
 * many bytes more instead, or less where that is negative. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long number(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

int MPI_Isend(const void *buf, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    static long blocks = 0;
    int rank;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == number("FLIP_RANK") && tag / 4 == number("FLIP_PHASE") && count >= number("FLIP_LEAST") &&
        blocks++ == number("FLIP_BLOCK")) {
        long at = number("FLIP_BYTE"), longer = number("FLIP_LONGER");
        fprintf(stderr, "flipped: to rank %d\n", to);
        if (longer) {
            /* Kept to the end of the process: MPI may read it at any time. */
            unsigned char *copy = calloc(count + labs(longer), 1);
            memcpy(copy, buf, count);
            return PMPI_Isend(copy, count + longer, type, to, tag, comm, request);
        }
        ((unsigned char *)buf)[at < 0 || at >= count ? count - 1 : at] ^= 1;
    }
    return PMPI_Isend(buf, count, type, to, tag, comm, request);
}
