/* What one pass is told, and the functions that count a part of it. */

#include <stdint.h>

#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)
#define LOCAL(name) GLUE(GLUE(mixtura_, name), GLUE(_, LEVEL))

enum { NONE, VECH, SQUARES, NORM };

typedef struct {
    const void *x;      /* features × rows, each row of it contiguous, `stride` apart */
    const void *weight; /* rows, or NULL where each counts once */
    const void *theta;  /* restarts · components × count */
    void *work;         /* what each part works in: `room` bytes, aligned to 64 */
    double *loglik;     /* of each part: restarts, then */
    double *sums;       /* restarts · components × count; parts lie `apart` */
    int64_t rows, stride, room, apart;
    int32_t features, components, restarts, kind, quadratics, count;
    int32_t block, panel, batch, parts, single, ticket;
} job;

/* Adds rows `from` … `to` − 1 to loglik (restarts) and sums (restarts · components × count), by the cut in the job. */
void LOCAL(part_double)(const job *j, int64_t from, int64_t to, double *work, double *loglik, double *sums);
void LOCAL(part_float)(const job *j, int64_t from, int64_t to, float *work, double *loglik, double *sums);

/* Calls f(data) on `parts` threads of the team that PyTorch's OpenMP keeps, where there is one. */
void LOCAL(spread)(void (*f)(void *), void *data, int parts);

/* All parts of a job, by so many threads at most. */
void LOCAL(shared)(job *j, int threads);
