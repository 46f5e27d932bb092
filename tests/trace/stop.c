/* Stops a rank in the midst of a call of MPI, where the others wait for it: what a debugger, or a machine that swaps, could do.
 *
 * Preloaded (LD_PRELOAD), it stands before some of MPI's functions (MPI 4.1, chapter 15: the profiling interface). Rank
 * STOP_RANK stops itself before it enters STOP_IN, which is one of the names below, and a line on stderr says so. Of the calls of
 * MPI_Isend and MPI_Irecv only those with the tag STOP_TAG count, and it is the one with number STOP_CALL, from 1, where it
 * stops. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long number(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

static void enter(const char *name) {
    const char *in = getenv("STOP_IN");
    /* MPI itself may not know it yet. */
    long rank = number(getenv("OMPI_COMM_WORLD_RANK") ? "OMPI_COMM_WORLD_RANK" : "PMI_RANK");
    if (rank == number("STOP_RANK") && in && strcmp(in, name) == 0) {
        fprintf(stderr, "stopped in %s\n", name);
        raise(SIGSTOP);
    }
}

int MPI_Isend(const void *buf, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    static long calls = 0;
    if (tag == number("STOP_TAG") && ++calls == number("STOP_CALL"))
        enter("MPI_Isend");
    return PMPI_Isend(buf, count, type, to, tag, comm, request);
}

int MPI_Irecv(void *buf, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request) {
    static long calls = 0;
    if (tag == number("STOP_TAG") && ++calls == number("STOP_CALL"))
        enter("MPI_Irecv");
    return PMPI_Irecv(buf, count, type, from, tag, comm, request);
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided) {
    enter("MPI_Init_thread");
    return PMPI_Init_thread(argc, argv, required, provided);
}

int MPI_Allgather(const void *from, int count, MPI_Datatype type, void *to, int received, MPI_Datatype as, MPI_Comm comm) {
    enter("MPI_Allgather");
    return PMPI_Allgather(from, count, type, to, received, as, comm);
}

int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win) {
    enter("MPI_Win_allocate_shared");
    return PMPI_Win_allocate_shared(size, unit, info, comm, base, win);
}

int MPI_Win_free(MPI_Win *win) {
    enter("MPI_Win_free");
    return PMPI_Win_free(win);
}

int MPI_Finalize(void) {
    enter("MPI_Finalize");
    return PMPI_Finalize();
}
