/* Writes down every message that a rank asks MPI to move: what an observer of the network could see.
 *
 * Preloaded (LD_PRELOAD), it stands before the MPI library's own functions (MPI 4.1, chapter 15: the profiling
 * interface). Rank R writes RECORD_FOLDER/R, a line a call: "S" (MPI_Isend) or "R" (MPI_Irecv), peer, bytes, tag. Any other
 * call that communicates is a line with its name alone. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *record;

static FILE *opened(void) {
    if (!record) {
        const char *folder = getenv("RECORD_FOLDER");
        char path[4096];
        int rank;
        PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
        snprintf(path, sizeof path, "%s/%d", folder ? folder : ".", rank);
        record = fopen(path, "w");
        if (!record) {
            perror(path);
            abort();
        }
    }
    return record;
}

static void note(char what, int peer, int count, MPI_Datatype type, int tag) {
    int size;
    PMPI_Type_size(type, &size);
    fprintf(opened(), "%c %d %lld %d\n", what, peer, (long long)count * size, tag);
}

int MPI_Isend(const void *buf, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    note('S', to, count, type, tag);
    return PMPI_Isend(buf, count, type, to, tag, comm, request);
}

int MPI_Irecv(void *buf, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request) {
    note('R', from, count, type, tag);
    return PMPI_Irecv(buf, count, type, from, tag, comm, request);
}

#define OTHER(name, parameters, arguments)   \
    int MPI_##name parameters {              \
        fprintf(opened(), "MPI_" #name "\n"); \
        return PMPI_##name arguments;        \
    }

OTHER(Send, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c), (b, n, t, to, tag, c))
OTHER(Ssend, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c), (b, n, t, to, tag, c))
OTHER(Issend, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c, MPI_Request *r), (b, n, t, to, tag, c, r))
OTHER(Recv, (void *b, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Status *s), (b, n, t, from, tag, c, s))
OTHER(Bcast, (void *b, int n, MPI_Datatype t, int root, MPI_Comm c), (b, n, t, root, c))
OTHER(Gather, (const void *b, int n, MPI_Datatype t, void *d, int m, MPI_Datatype u, int root, MPI_Comm c), (b, n, t, d, m, u, root, c))
OTHER(Scatter, (const void *b, int n, MPI_Datatype t, void *d, int m, MPI_Datatype u, int root, MPI_Comm c), (b, n, t, d, m, u, root, c))
OTHER(Allgather, (const void *b, int n, MPI_Datatype t, void *d, int m, MPI_Datatype u, MPI_Comm c), (b, n, t, d, m, u, c))
OTHER(Alltoall, (const void *b, int n, MPI_Datatype t, void *d, int m, MPI_Datatype u, MPI_Comm c), (b, n, t, d, m, u, c))
OTHER(Reduce, (const void *b, void *d, int n, MPI_Datatype t, MPI_Op o, int root, MPI_Comm c), (b, d, n, t, o, root, c))
OTHER(Allreduce, (const void *b, void *d, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (b, d, n, t, o, c))
OTHER(Barrier, (MPI_Comm c), (c))

int MPI_Finalize(void) {
    if (record) {
        fclose(record);
    }
    return PMPI_Finalize();
}
