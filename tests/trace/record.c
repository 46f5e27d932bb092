/* Records what a process sends and receives through MPI, from outside the program: build it as a shared object with the
 * library's own mpicc, and start the ranks with LD_PRELOAD. One line a call, in the order of calls, to $MPI_RECORD.RANK:
 *   S peer bytes tag     MPI_Isend
 *   R peer bytes tag     MPI_Irecv
 *   X function           any other call that moves data
 * MPI's profiling interface: MPI 4.1, 15.2. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *record;

static FILE *lines(void) {
    if (!record) {
        char path[4096];
        int rank = -1;
        PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
        snprintf(path, sizeof path, "%s.%d", getenv("MPI_RECORD"), rank);
        record = fopen(path, "w");
        if (!record) abort();
    }
    return record;
}

static void line(char kind, int peer, int count, MPI_Datatype type, int tag) {
    int size = 0;
    PMPI_Type_size(type, &size);
    fprintf(lines(), "%c %d %d %d\n", kind, peer, count * size, tag);
}

int MPI_Isend(const void *from, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request) {
    line('S', peer, count, type, tag);
    return PMPI_Isend(from, count, type, peer, tag, comm, request);
}

int MPI_Irecv(void *to, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request) {
    line('R', peer, count, type, tag);
    return PMPI_Irecv(to, count, type, peer, tag, comm, request);
}

int MPI_Send(const void *from, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm) {
    fprintf(lines(), "X MPI_Send\n");
    return PMPI_Send(from, count, type, peer, tag, comm);
}

int MPI_Recv(void *to, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Status *status) {
    fprintf(lines(), "X MPI_Recv\n");
    return PMPI_Recv(to, count, type, peer, tag, comm, status);
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    fprintf(lines(), "X MPI_Bcast\n");
    return PMPI_Bcast(buffer, count, type, root, comm);
}

int MPI_Finalize(void) {
    if (record) fclose(record);
    return PMPI_Finalize();
}
