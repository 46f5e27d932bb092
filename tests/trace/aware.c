/* An MPI library that takes a GPU's memory ("CUDA-aware"), over one that does not, where the GPU is a stand-in (tests/shim/fake.h).
 *
 * Preloaded (LD_PRELOAD), it answers MPIX_Query_cuda_support, once MPI is initialized: yes, or where AWARE_RANKS has numbers yes on
 * these ranks alone. Blocks in a device's memory, which the processor cannot touch, are copied to where MPI can, and
 * back when they have arrived. What goes from a device before its work is done ends the process, and so does an end of MPI when the
 * device is no longer in use: a real library has things of its own there until then.
 *
 * Rank R leaves in AWARE_FOLDER/R how many blocks it has sent from a device's memory and from the processor's, how many it has
 * received into each, and how many windows it has allocated. With AWARE_FLIP, "RANK PHASE BLOCK", bit 0 of byte 40 of that block, counted
 * from 0, of those that this rank sends from a device in that phase flips, and a line on stderr says to whom it went. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int (*holds)(const void *at);
static void (*moved)(void *to, const void *from, size_t bytes);
static int (*in_use)(void);
static long sent[2], received[2], windows;

static int rank_of_this(void) {
    int rank;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

int MPIX_Query_cuda_support(void) {
    int initialized = 0;
    PMPI_Initialized(&initialized);
    if (!initialized)
        return 0;
    const char *ranks = getenv("AWARE_RANKS");
    if (!ranks)
        return 1;
    int rank, read;
    for (; sscanf(ranks, "%d%n", &rank, &read) == 1; ranks += read)
        if (rank == rank_of_this())
            return 1;
    return 0;
}

static int on_device(const void *at) {
    if (!holds) {
        void *library = dlopen("libcuda.so", RTLD_NOLOAD | RTLD_LAZY);
        if (!library)
            return 0;
        *(void **)&moved = dlsym(library, "fake_moved");
        *(void **)&in_use = dlsym(library, "fake_in_use");
        *(void **)&holds = dlsym(library, "fake_holds");
    }
    return holds(at);
}

/* Messages under way that are copied. */
static struct {
    MPI_Request request;
    void *copy, *to; /* null: nothing there */
    int bytes;
} under_way[1024];

static int keep(MPI_Request request, void *copy, void *to, int bytes) {
    for (int i = 0; i < 1024; i++)
        if (!under_way[i].copy) {
            under_way[i].request = request;
            under_way[i].copy = copy;
            under_way[i].to = to;
            under_way[i].bytes = bytes;
            return MPI_SUCCESS;
        }
    abort();
}

static void settle(MPI_Request request) {
    for (int i = 0; i < 1024; i++)
        if (under_way[i].copy && under_way[i].request == request) {
            if (under_way[i].to)
                moved(under_way[i].to, under_way[i].copy, under_way[i].bytes);
            free(under_way[i].copy);
            under_way[i].copy = NULL;
            return;
        }
}

int MPI_Isend(const void *buf, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    int device = count > 0 && on_device(buf), rank, phase;
    sent[device] += tag >= 4;
    if (!device)
        return PMPI_Isend(buf, count, type, to, tag, comm, request);
    unsigned char *copy = malloc(count);
    moved(copy, buf, count);
    static long blocks = 0;
    long block;
    const char *flip = getenv("AWARE_FLIP");
    if (flip && sscanf(flip, "%d %d %ld", &rank, &phase, &block) == 3 && rank == rank_of_this() && tag / 4 == phase &&
        blocks++ == block) {
        fprintf(stderr, "flipped: to rank %d\n", to);
        copy[40] ^= 1;
    }
    int code = PMPI_Isend(copy, count, type, to, tag, comm, request);
    return code ? code : keep(*request, copy, NULL, count);
}

int MPI_Irecv(void *buf, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request) {
    int device = count > 0 && on_device(buf);
    received[device] += tag >= 4;
    if (!device)
        return PMPI_Irecv(buf, count, type, from, tag, comm, request);
    void *copy = calloc(count, 1);
    int code = PMPI_Irecv(copy, count, type, from, tag, comm, request);
    return code ? code : keep(*request, copy, buf, count);
}

int MPI_Testall(int count, MPI_Request requests[], int *flag, MPI_Status statuses[]) {
    MPI_Request *before = malloc((count + 1) * sizeof *before);
    memcpy(before, requests, count * sizeof *before);
    int code = PMPI_Testall(count, requests, flag, statuses);
    for (int i = 0; code == MPI_SUCCESS && *flag && i < count; i++)
        settle(before[i]);
    free(before);
    return code;
}

int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status) {
    MPI_Request before = *request;
    int code = PMPI_Test(request, flag, status);
    if (code == MPI_SUCCESS && *flag)
        settle(before);
    return code;
}

int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win) {
    windows++;
    return PMPI_Win_allocate_shared(size, unit, info, comm, base, win);
}

int MPI_Finalize(void) {
    if (sent[1] + received[1] && !in_use()) {
        fprintf(stderr, "MPI ends, and the device is gone\n");
        abort();
    }
    const char *folder = getenv("AWARE_FOLDER");
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder ? folder : ".", rank_of_this());
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    fprintf(file, "%ld %ld %ld %ld %ld\n", sent[1], sent[0], received[1], received[0], windows);
    fclose(file);
    return PMPI_Finalize();
}
